//! What may be said to the HTTP actor: nothing. It is there to be supervised.

use crate::messages::addr::Message;

/// No message.
#[derive(Clone, Copy, Debug)]
pub enum HttpMsg {}

impl Message for HttpMsg {
    fn kind(&self) -> &'static str {
        match *self {}
    }

    fn is_idempotent(&self) -> bool {
        match *self {}
    }

    fn is_abandoned(&self) -> bool {
        match *self {}
    }
}
