//! One WebSocket, from its first frame to its close.

use std::sync::Arc;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use crate::hub::{Attached, Hub, Resume, WebSocketPlace};
use crate::limits::{CLOSE_LINGER, Limits};
use crate::protocol::{Action, ClientFrame, ClientMessage, ErrorCode, Fault, ServerMessage};
use crate::room::bye;
use crate::session::{Outgoing, Socket};

/// Serves a WebSocket until it is closed. The session, if there is one, outlives it.
pub(crate) async fn serve(hub: &Arc<Hub>, place: &WebSocketPlace, mut socket: WebSocket) {
    let limits = &hub.config().limits;
    // A resume brings all that the session keeps at once.
    let (sender, mut outgoing) =
        mpsc::channel(limits.outgoing_frames + limits.replay_frames + REPLIES);
    match enter(hub, place, &mut socket, sender).await {
        Ok(attached) => {
            let end = converse(hub, &attached, &mut socket, &mut outgoing).await;
            hub.detach(&attached);
            if let Some(code) = end {
                close(&mut socket, code, limits).await;
            }
        }
        Err(Some(code)) => close(&mut socket, code, limits).await,
        Err(None) => {}
    }
}

/// `resumed` and what comes with a full snapshot.
const REPLIES: usize = 64;

/// Waits for `join` or `resume`, and carries it out. A `resume` that failed leaves the WebSocket
/// open for a `join`; all else that fails closes it, with the code that is returned.
async fn enter(
    hub: &Arc<Hub>,
    place: &WebSocketPlace,
    socket: &mut WebSocket,
    sender: Socket,
) -> Result<Attached, Option<u16>> {
    let limits = &hub.config().limits;
    for may_try_again in [true, false] {
        let (id, fault) = match first_frame(socket, limits).await {
            Ok(text) => match first_request(hub, place, &text, &sender).await {
                Ok(attached) => return Ok(attached),
                Err(refused) => refused,
            },
            Err(Some(fault)) => (None, fault),
            Err(None) => return Err(None),
        };
        tracing::debug!(address = %place.address, code = fault.code.as_str(), "not let in: {}", fault.text);
        let code = fault.code;
        write(socket, Message::text(fault.reply(id).to_text()), limits)
            .await
            .ok_or(None)?;
        if code != ErrorCode::ResumeFailed || !may_try_again {
            return Err(Some(code.close_code()));
        }
    }
    Err(Some(ErrorCode::ResumeFailed.close_code()))
}

/// `Err(None)` where the client is gone.
async fn first_frame(socket: &mut WebSocket, limits: &Limits) -> Result<Utf8Bytes, Option<Fault>> {
    let deadline = Instant::now() + limits.first_frame_timeout;
    loop {
        match timeout_at(deadline, socket.recv()).await {
            Ok(Some(Ok(Message::Text(text)))) if text.len() > limits.offer_frame_bytes => {
                return Err(Some(too_large(limits)));
            }
            Ok(Some(Ok(Message::Text(text)))) => return Ok(text),
            Ok(Some(Ok(Message::Binary(_)))) => return Err(Some(binary())),
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            Ok(Some(Ok(Message::Close(_))) | None) => return Err(None),
            Ok(Some(Err(_))) => return Err(Some(too_large(limits))),
            Err(_) => {
                let text = "no 'join' or 'resume' has come in time";
                return Err(Some(Fault::new(ErrorCode::Timeout, text)));
            }
        }
    }
}

async fn first_request(
    hub: &Arc<Hub>,
    place: &WebSocketPlace,
    text: &str,
    sender: &Socket,
) -> Result<Attached, (Option<u64>, Fault)> {
    let frame = ClientFrame::parse(text)?;
    let id = frame.as_ref().and_then(|frame| frame.id);
    let (message, re) = (frame.map(|frame| frame.message), id.unwrap_or_default());
    let entered = match message {
        Some(ClientMessage::Join(join)) => hub.join(re, *join, place.address, sender.clone()).await,
        Some(ClientMessage::Resume {
            v,
            session,
            secret,
            last_s,
            offer,
        }) => {
            hub.resume(
                Resume {
                    re,
                    v,
                    session,
                    secret,
                    last_s,
                    offer,
                },
                place.address,
                sender.clone(),
            )
            .await
        }
        _ => Err(Fault::new(
            ErrorCode::BadRequest,
            "the first frame must be 'join' or 'resume'",
        )),
    };
    entered.map_err(|fault| (id, fault))
}

/// Carries frames both ways. Returns the code to close the WebSocket with, where it is still there.
async fn converse(
    hub: &Arc<Hub>,
    attached: &Attached,
    socket: &mut WebSocket,
    outgoing: &mut mpsc::Receiver<Outgoing>,
) -> Option<u16> {
    let limits = &hub.config().limits;
    let mut idle = Instant::now() + limits.idle_timeout;
    loop {
        let frame = tokio::select! {
            next = outgoing.recv() => match next {
                Some(Outgoing::Text(text)) => {
                    write(socket, Message::Text(text), limits).await?;
                    continue;
                }
                // Only viewers without a WebSocket are told such things.
                Some(Outgoing::Live(_)) => continue,
                Some(Outgoing::Close(code)) => return Some(code),
                None => return away(socket, ErrorCode::Timeout, "you have not read fast enough", limits).await,
            },
            frame = timeout_at(idle, socket.recv()) => frame,
        };
        idle = Instant::now() + limits.idle_timeout;
        match frame {
            Ok(Some(Ok(Message::Text(text)))) => hub.handle(attached, &text).await,
            Ok(Some(Ok(Message::Binary(_)))) => hub.refuse(attached, None, binary()),
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            Ok(Some(Ok(Message::Close(_))) | None) => return None,
            // The WebSocket broke, or the frame was so large that it was not read: it cannot go on.
            Ok(Some(Err(_))) => {
                return away(socket, ErrorCode::TooLarge, &too_large(limits).text, limits).await;
            }
            Err(_) => {
                return away(
                    socket,
                    ErrorCode::Timeout,
                    "nothing has come for long",
                    limits,
                )
                .await;
            }
        }
    }
}

/// Ends the WebSocket, but not the session.
async fn away(socket: &mut WebSocket, code: ErrorCode, text: &str, limits: &Limits) -> Option<u16> {
    let bye = ServerMessage::Bye(bye(code, text, Action::Resume));
    write(socket, Message::text(bye.to_text()), limits).await?;
    Some(code.close_code())
}

/// `None` where the client is gone or does not read.
async fn write(socket: &mut WebSocket, message: Message, limits: &Limits) -> Option<()> {
    timeout(limits.write_timeout, socket.send(message))
        .await
        .ok()?
        .ok()
}

/// Sends the close frame, and reads on until the client has closed too: a socket with unread data
/// is reset, and the client would not see why.
async fn close(socket: &mut WebSocket, code: u16, limits: &Limits) {
    let frame = CloseFrame {
        code,
        reason: Utf8Bytes::default(),
    };
    if write(socket, Message::Close(Some(frame)), limits)
        .await
        .is_some()
    {
        let rest = async { while let Some(Ok(_)) = socket.recv().await {} };
        // Who does not close in time is cut off.
        let _ = timeout(CLOSE_LINGER, rest).await;
    }
}

fn binary() -> Fault {
    Fault::new(ErrorCode::BadRequest, "frames are JSON text, not binary")
}

fn too_large(limits: &Limits) -> Fault {
    Fault::new(
        ErrorCode::TooLarge,
        format!(
            "the frame is over the limit of {} bytes",
            limits.offer_frame_bytes
        ),
    )
}
