//! Codecs and header extensions of m-lines. A client's m-lines have them in the same words, and so have clients with the
//! same browser: str0m parses them once for all, 80 lines of the 130 that are left of an offer.

use std::cell::RefCell;
use std::rc::Rc;

use str0m::change::{SdpAnswer, SdpOffer};
use str0m::media::MediaKind;

use super::description::{Description, Section};
use super::reduce::Useless;
use super::{SdpError, repair, text};
use crate::limits::{FORMATS_BYTES_MAX, FORMATS_KEPT_MAX};

/// Codecs and header extensions, as they came and as str0m understands them.
#[derive(Debug)]
struct Formats {
    /// The m-line, and the lines about its formats.
    media: String,
    common: String,
    sdp: SdpOffer,
}

thread_local! {
    /// What was parsed last, newest first. It depends on nothing but its text, and there is nothing about a person in it.
    static KEPT: RefCell<Vec<Rc<Formats>>> = const { RefCell::new(Vec::new()) };
}

/// What stands before codecs and header extensions: the least that str0m parses.
const SESSION: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";
const ATTRIBUTES: &str = "a=mid:0\r\na=inactive\r\n";
const ATTRIBUTES_COUNT: usize = 2;

/// Parses what is there to be made an offer or an answer.
pub(super) fn parse(
    description: &Description<'_>,
) -> Result<impl Into<SdpOffer> + Into<SdpAnswer> + use<>, SdpError> {
    let own = parse_text(&description.without_formats())?;
    let mut sdp = (*own).clone();
    for (line, section) in sdp.media_lines.iter_mut().zip(&description.sections) {
        let Some(formats) = formats_of(section)? else {
            continue;
        };
        if let Some(parsed) = formats.sdp.media_lines.first() {
            line.pts.clone_from(&parsed.pts);
            let attributes = parsed.attrs.iter().skip(ATTRIBUTES_COUNT);
            line.attrs.extend(attributes.cloned());
        }
    }
    Ok(sdp)
}

fn parse_text(text: &str) -> Result<SdpOffer, SdpError> {
    SdpOffer::from_sdp_string(text).map_err(|error| SdpError::Malformed(error.to_string()))
}

/// `None` where they stand with the section itself.
fn formats_of(section: &Section<'_>) -> Result<Option<Rc<Formats>>, SdpError> {
    let (Some(kind), Some(pts)) = (section.kind, section.formats) else {
        return Ok(None);
    };
    // The port says at most that the m-line is rejected (RFC 8829 section 4.1.1).
    let port = if section.is_rejected() { 0 } else { 9 };
    let media = format!("m={kind} {port} UDP/TLS/RTP/SAVPF{pts}");
    KEPT.with_borrow_mut(|kept| {
        let is_it = |known: &Rc<Formats>| known.common == section.common && known.media == media;
        if let Some(at) = kept.iter().position(is_it) {
            let newest = kept.get_mut(..=at);
            newest.into_iter().for_each(|newest| newest.rotate_right(1));
            return Ok(kept.first().cloned());
        }
        let sdp = parse_text(&useful_of(kind, &media, &section.common))?;
        let common = section.common.clone();
        let formats = Rc::new(Formats { media, common, sdp });
        if formats.media.len() + formats.common.len() <= FORMATS_BYTES_MAX {
            kept.truncate(FORMATS_KEPT_MAX - 1);
            kept.insert(0, Rc::clone(&formats));
        }
        Ok(Some(formats))
    })
}

/// A session with one m-line, which has what this server has a use for.
fn useful_of(kind: MediaKind, media: &str, common: &str) -> String {
    let lines: Vec<&str> = text::lines(common).collect();
    let useless = Useless::of(kind, media, &lines);
    let mut useful = String::with_capacity(SESSION.len() + ATTRIBUTES.len() + common.len());
    useful.push_str(SESSION);
    useful.push_str(&useless.leave_out_of_media(media));
    useful.push_str("\r\n");
    useful.push_str(ATTRIBUTES);
    for line in lines.iter().filter(|line| useless.leaves(line)) {
        repair::push_format(&mut useful, line);
        useful.push_str("\r\n");
    }
    useful
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sdp(pt: u8, lines: &str) -> String {
        let session = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE a b\r\n";
        let section = |mid| {
            format!(
                "m=video 9 UDP/TLS/RTP/SAVPF {pt}\r\na=mid:{mid}\r\na=recvonly\r\na=rtpmap:{pt} VP8/90000\r\n{lines}"
            )
        };
        format!("{session}{}{}", section("a"), section("b"))
    }

    fn parsed(sdp: &str) -> Result<SdpOffer, SdpError> {
        parse(&Description::read(sdp)?).map(Into::into)
    }

    fn kept() -> usize {
        KEPT.with_borrow(Vec::len)
    }

    #[test]
    fn what_sections_have_in_common_is_parsed_once_and_is_in_all() {
        let sdp = sdp(96, "a=rtcp-fb:96 nack pli\r\na=fmtp:96 max-fr=30\r\n");
        for _ in 0..3 {
            let whole = parse_text(&sdp).unwrap();
            assert_eq!(parsed(&sdp).unwrap(), whole);
            assert_eq!(kept(), 1);
        }
    }

    #[test]
    fn what_cannot_be_parsed_is_refused_each_time() {
        let twice = sdp(96, "a=rtpmap:96 VP9/90000\r\n");
        for _ in 0..2 {
            let error = parsed(&twice).unwrap_err().to_string();
            assert!(error.contains("More than one a=rtp_map:96"), "{error}");
        }
        assert_eq!(kept(), 0);
    }

    #[test]
    fn a_client_cannot_make_the_server_keep_more_and_more() {
        for number in 0..=FORMATS_KEPT_MAX {
            parsed(&sdp(96, &format!("a=fmtp:96 max-fr={number}\r\n"))).unwrap();
        }
        assert_eq!(kept(), FORMATS_KEPT_MAX);
        let newest = KEPT.with_borrow(|kept| kept[0].common.clone());
        assert!(newest.ends_with(&format!("max-fr={FORMATS_KEPT_MAX}\r\n")));
        let long = format!("a=fmtp:96 x={}\r\n", "x".repeat(FORMATS_BYTES_MAX));
        parsed(&sdp(96, &long)).unwrap();
        assert_eq!(KEPT.with_borrow(|kept| kept[0].common.clone()), newest);
    }
}
