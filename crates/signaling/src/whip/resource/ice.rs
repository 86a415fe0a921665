//! A session's ICE, as PATCH requests change it.

use std::collections::VecDeque;

use crate::whip::fragment::Fragment;
use crate::whip::offer::OfferText;
use crate::whip::problem::Problem;

/// Credentials of ICE sessions before this one that are still known: their late candidates are no restart.
const EARLIER_MAX: usize = 8;

/// The client's side of the present ICE session.
#[derive(Debug)]
pub(in crate::whip) struct Ice {
    /// The offer that has made the session: a restart offers it again, with other credentials. `None` where this side made
    /// the offer.
    pub(in crate::whip) offer: Option<OfferText>,
    /// What the client has answered to an offer of this side.
    answer: Option<String>,
    ufrag: String,
    pwd: String,
    earlier: VecDeque<String>,
    /// Names this ICE session, quotes included.
    pub(in crate::whip) etag: String,
}

/// What a PATCH wants.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::whip) enum Patch {
    /// Candidates for the present ICE session.
    Trickle,
    /// Candidates for one that is over.
    Late,
    /// Another ICE session.
    Restart { ufrag: String, pwd: String },
}

impl Ice {
    pub(in crate::whip) fn new(offer: OfferText) -> Self {
        let attribute = |name| offer.attribute(name).unwrap_or_default().to_owned();
        Self {
            ufrag: attribute("ice-ufrag"),
            pwd: attribute("ice-pwd"),
            offer: Some(offer),
            answer: None,
            earlier: VecDeque::new(),
            etag: new_etag(),
        }
    }

    /// Of a client that is to answer.
    pub(in crate::whip) fn invited() -> Self {
        Self {
            offer: None,
            answer: None,
            ufrag: String::new(),
            pwd: String::new(),
            earlier: VecDeque::new(),
            etag: new_etag(),
        }
    }

    /// What the client has answered before.
    pub(in crate::whip) fn answer(&self) -> Option<&str> {
        self.answer.as_deref()
    }

    /// The client has answered.
    pub(in crate::whip) fn answered(&mut self, answer: &str) {
        let attribute = |name: &str| {
            let found = answer.lines().find_map(|line| line.strip_prefix(name));
            found.unwrap_or_default().trim().to_owned()
        };
        self.answer = Some(answer.to_owned());
        self.ufrag = attribute("a=ice-ufrag:");
        self.pwd = attribute("a=ice-pwd:");
    }

    /// What a fragment is for. Its credentials decide: clients say in `If-Match` what they like.
    pub(in crate::whip) fn classify(&self, fragment: &Fragment) -> Result<Patch, Problem> {
        let Some(ufrag) = &fragment.ufrag else {
            return Ok(Patch::Trickle);
        };
        if self.offer.is_none() && self.answer.is_none() {
            return Ok(Patch::Trickle);
        }
        let same_pwd = fragment.pwd.as_ref().is_none_or(|pwd| *pwd == self.pwd);
        if *ufrag == self.ufrag && same_pwd {
            return Ok(Patch::Trickle);
        }
        if self.earlier.contains(ufrag) {
            return Ok(Patch::Late);
        }
        let Some(pwd) = &fragment.pwd else {
            let text = "a new ice-ufrag needs an ice-pwd";
            return Err(Problem::bad_request(text));
        };
        Ok(Patch::Restart {
            ufrag: ufrag.clone(),
            pwd: pwd.clone(),
        })
    }

    /// The restart has been answered.
    pub(in crate::whip) fn restarted(&mut self, ufrag: String, pwd: String) {
        let before = std::mem::replace(&mut self.ufrag, ufrag);
        self.earlier.push_back(before);
        if self.earlier.len() > EARLIER_MAX {
            self.earlier.pop_front();
        }
        self.pwd = pwd;
        self.etag = new_etag();
    }
}

fn new_etag() -> String {
    format!("\"{:016x}\"", rand::random::<u64>())
}
