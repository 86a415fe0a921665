//! The media side: peers with real ICE, DTLS and SRTP, by thousands on one thread.

pub(crate) mod delay;
pub(crate) mod dtls;
pub(crate) mod encoder;
pub(crate) mod engine;
mod h264;
pub(crate) mod link;
pub(crate) mod negotiation;
pub(crate) mod peer;
pub(crate) mod publication;
pub(crate) mod socket;
pub(crate) mod tag;
mod vp8;
