//! Who types: told to the others of the room, and over by itself.

use serde_json::value::RawValue;

use shardwire_protocol::codes::ErrorCode;

use super::ChatSettings;
use super::seats::ignored;
use crate::permissions::Action;
use crate::shard::Shard;
use crate::timers::tick_at;
use crate::vocabulary::{ChatDeed, ConnectionId, Now};

impl Shard {
    /// Contract C4. Who types already types longer, and nobody has to be told.
    pub(super) fn type_on(
        &mut self,
        now: Now,
        id: ConnectionId,
        settings: &ChatSettings,
        reply: Option<&RawValue>,
    ) -> Result<(), ErrorCode> {
        let Some(seat) = self.chat.seats.get(&id) else {
            return ignored(reply);
        };
        let channel = seat.channel().clone();
        self.authorize(id, Action::Publish, &channel)?;
        let Some(seat) = self.chat.seats.get_mut(&id) else {
            return Ok(());
        };
        let until = tick_at(now.ms.saturating_add(settings.typing_ms));
        if seat.typing.replace(until).is_some() {
            return Ok(());
        }
        if self.chat.armed.insert(id) {
            self.chat.wheel.arm(until, id);
        }
        if !self.do_in_room(now, &channel, id, ChatDeed::Typing(true)) {
            // Nobody has been told, so there is nothing to end.
            if let Some(seat) = self.chat.seats.get_mut(&id) {
                seat.typing = None;
            }
            return Err(ErrorCode::Overloaded);
        }
        Ok(())
    }

    /// Contract C5.
    pub(super) fn type_off(
        &mut self,
        now: Now,
        id: ConnectionId,
        reply: Option<&RawValue>,
    ) -> Result<(), ErrorCode> {
        let Some(seat) = self.chat.seats.get_mut(&id) else {
            return ignored(reply);
        };
        if seat.typing.take().is_none() {
            return Ok(());
        }
        let channel = seat.channel().clone();
        if self.do_in_room(now, &channel, id, ChatDeed::Typing(false)) {
            Ok(())
        } else {
            Err(ErrorCode::Overloaded)
        }
    }

    /// Those whose time is over have stopped.
    pub(crate) fn end_typing(&mut self, now: Now) {
        let tick = self.tick(now);
        let mut due = Vec::new();
        self.chat.wheel.advance(tick, |id| due.push(id));
        for id in due {
            self.chat.armed.remove(&id);
            let seat = self.chat.seats.get(&id);
            let Some(until) = seat.and_then(|seat| seat.typing) else {
                continue;
            };
            if until > tick {
                self.chat.armed.insert(id);
                self.chat.wheel.arm(until, id);
            } else {
                // A way that is full is as good as a message that was lost: readers let it end by themselves, too.
                let _ = self.type_off(now, id, None);
            }
        }
    }
}
