//! What clients write into formats that is wrong, set right before str0m reads it.

/// What an H.264 profile counts as that cannot be read: constrained baseline, which every client has.
const USUAL_PROFILE: &str = "42e01f";

/// A `profile-level-id` has six digits; FFmpeg 8.0 writes seven.
pub(super) fn push_format(text: &mut String, line: &str) {
    const NAME: &str = "profile-level-id=";
    let Some((before, rest)) = line.split_once(NAME) else {
        text.push_str(line);
        return;
    };
    let end = rest.find(';').unwrap_or(rest.len());
    let (profile, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let profile = profile.trim();
    let is_readable = profile.len() == 6 && profile.bytes().all(|digit| digit.is_ascii_hexdigit());
    text.push_str(before);
    text.push_str(NAME);
    text.push_str(if is_readable { profile } else { USUAL_PROFILE });
    text.push_str(after);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whip_39_a_profile_has_six_digits() {
        let repaired = |format: &str| {
            let mut text = String::new();
            push_format(&mut text, format);
            text
        };
        assert_eq!(
            repaired("a=fmtp:96 profile-level-id=422001f;packetization-mode=1"),
            "a=fmtp:96 profile-level-id=42e01f;packetization-mode=1"
        );
        for good in [
            "a=fmtp:96 packetization-mode=1;profile-level-id=64001f",
            "a=fmtp:111 minptime=10",
        ] {
            assert_eq!(repaired(good), good);
        }
    }
}
