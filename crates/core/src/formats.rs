//! What the receiver of an m-line has negotiated for each codec.

use std::sync::Arc;

use str0m::Rtc;
use str0m::format::CodecSpec;
use str0m::media::Mid;

use crate::codec;
use crate::egress::PayloadTypes;

/// Payload types by codec, as they have been looked up. Beside the slot, not behind a pointer: every packet of every subscriber
/// asks.
#[derive(Debug, Default)]
pub(crate) struct Formats {
    known: [Option<(Arc<CodecSpec>, Option<PayloadTypes>)>; KEPT_MAX],
    /// Where the next one that is looked up is kept.
    next: usize,
}

/// Each layer of a track may be of another codec; no browser sends more than three.
const KEPT_MAX: usize = 4;

impl Formats {
    /// `None` where the receiver cannot decode it.
    pub(crate) fn payload_types(
        &mut self,
        codec: &Arc<CodecSpec>,
        rtc: &Rtc,
        mid: Mid,
    ) -> Option<PayloadTypes> {
        let mut known = self.known.iter().flatten();
        if let Some((_, found)) = known.find(|(known, _)| Arc::ptr_eq(known, codec)) {
            return *found;
        }
        let found = look_up(rtc, mid, codec);
        if let Some(place) = self.known.get_mut(self.next) {
            *place = Some((codec.clone(), found));
        }
        self.next = (self.next + 1) % KEPT_MAX;
        found
    }
}

/// Of what the m-line negotiated the best fit for a codec, and of several that fit alike the one that the receiver
/// likes best. The session's configuration holds what it never offered, too.
fn look_up(rtc: &Rtc, mid: Mid, codec: &CodecSpec) -> Option<PayloadTypes> {
    let configured = rtc.codec_config().params();
    let offered = rtc.media(mid)?.remote_pts().iter().rev();
    let fitting = offered.filter_map(|pt| {
        let params = configured.iter().find(|params| params.pt() == *pt)?;
        Some((codec::fit(codec, &params.spec())?, params))
    });
    let (_, params) = fitting.max_by_key(|(fit, _)| *fit)?;
    Some(PayloadTypes {
        plain: params.pt(),
        red: params.red(),
        rtx: params.resend(),
    })
}
