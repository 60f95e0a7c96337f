//! What a handler is given of a message: as it came, or as a type of its own.

use std::ops::Deref;

use serde::de::DeserializeOwned;

use super::HandlerError;

/// One message of a client, whole, as JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message(Box<str>);

impl Message {
    pub(crate) fn new(text: Box<str>) -> Self {
        Self(text)
    }

    /// The JSON text. It was parsed on the way here, so it is an object with a `type`.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The message as a type of the application's.
    ///
    /// # Errors
    /// [`HandlerError::Shape`] when a field is missing or has the wrong type.
    pub fn parse<'m, T: serde::Deserialize<'m>>(&'m self) -> Result<T, HandlerError> {
        Ok(serde_json::from_str(&self.0)?)
    }

    pub(crate) fn into_text(self) -> Box<str> {
        self.0
    }
}

/// What a handler's second parameter may be.
pub trait FromMessage: Sized {
    /// Makes it from a message.
    ///
    /// # Errors
    /// [`HandlerError`], which is answered instead of calling the handler.
    fn from_message(message: Message) -> Result<Self, HandlerError>;
}

impl FromMessage for Message {
    fn from_message(message: Message) -> Result<Self, HandlerError> {
        Ok(message)
    }
}

/// A message parsed into `T`; a message that does not fit is answered "Invalid message" and never reaches the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromMessage for Json<T> {
    fn from_message(message: Message) -> Result<Self, HandlerError> {
        message.parse().map(Json)
    }
}

impl<T> Deref for Json<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
