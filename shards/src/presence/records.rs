//! What is known of users, at their home.

use ahash::AHashMap;
use shardwire_protocol::codes::ErrorCode;

use super::PresenceSettings;
use super::rooms::Rooms;
use crate::bounds::{
    PRESENCE_METADATA_BYTES_MAX, PRESENCE_METADATA_KEYS_MAX, PRESENCE_RECORDS_MAX,
};
use crate::vocabulary::{
    Change, MetadataChange, Now, OFFLINE, ONLINE, Presence, PresenceChange, UserId,
};

/// A user is not there, or is believed not to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Away {
    /// When it was there last, in Unix milliseconds; none: nobody knows.
    last_seen: Option<u64>,
    /// From when on it is told to be offline.
    offline_ms: u64,
    /// When it is forgotten.
    forget_ms: u64,
}

/// A question to the shards of a user's connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Round {
    number: u32,
    /// Who has still to answer.
    missing: usize,
    /// Who has not spoken since is silent. The same for all shards, and later: each has been told.
    since_ms: u64,
}

/// One user that has said something of itself, or of whom somebody has.
#[derive(Debug, Default)]
struct Record {
    status: Option<Box<str>>,
    username: Option<Box<str>>,
    current_room: Option<Box<str>>,
    /// Chat rooms it is in.
    rooms: Rooms,
    metadata: Vec<(Box<str>, Box<str>)>,
    /// None: it is there.
    away: Option<Away>,
    /// When it last said something, as far as is known, in milliseconds since start.
    heard_ms: u64,
    /// The last question when its connections spoke.
    round: Round,
    /// When it is looked at next.
    look_ms: u64,
}

/// All users of whom something is known.
#[derive(Debug, Default)]
pub(super) struct Records {
    by_user: AHashMap<UserId, Record>,
    rounds: u32,
}

/// Of a user that is connected, and silent.
const NOT_YET: u64 = u64::MAX;

fn set(field: &mut Option<Box<str>>, change: Change<Box<str>>) {
    match change {
        Change::Keep => {}
        Change::Remove => *field = None,
        Change::Set(text) => *field = Some(text),
    }
}

/// Field by field, too: what is not named stays (decision D7).
fn merge(into: &mut Vec<(Box<str>, Box<str>)>, entries: Vec<MetadataChange>) {
    for (key, value) in entries {
        let known = into.iter().position(|(known, _)| *known == key);
        match (known, value) {
            (Some(at), Some(value)) => into[at].1 = value,
            (Some(at), None) => {
                into.remove(at);
            }
            (None, Some(value)) => into.push((key, value)),
            (None, None) => {}
        }
    }
}

impl Record {
    /// # Errors
    /// `MessageTooLarge`: all metadata together would be more than it may be. Nothing is changed then.
    fn change(&mut self, change: PresenceChange) -> Result<(), ErrorCode> {
        match change.metadata {
            Change::Keep => {}
            Change::Remove => self.metadata = Vec::new(),
            Change::Set(entries) => {
                let mut merged = self.metadata.clone();
                merge(&mut merged, entries);
                let bytes: usize = merged
                    .iter()
                    .map(|(key, value)| key.len() + value.len())
                    .sum();
                if bytes > PRESENCE_METADATA_BYTES_MAX || merged.len() > PRESENCE_METADATA_KEYS_MAX
                {
                    return Err(ErrorCode::MessageTooLarge);
                }
                self.metadata = merged;
            }
        }
        set(&mut self.status, change.status);
        set(&mut self.username, change.username);
        set(&mut self.current_room, change.current_room);
        Ok(())
    }

    fn shown(&self, now_ms: u64) -> Presence {
        let away = self.away.filter(|away| now_ms >= away.offline_ms);
        let status = match (&away, &self.status) {
            (Some(_), _) => OFFLINE.into(),
            (None, Some(status)) => status.clone(),
            (None, None) => ONLINE.into(),
        };
        Presence {
            status,
            last_seen: away.and_then(|away| away.last_seen),
            username: self.username.clone(),
            current_room: self.current_room.clone(),
            metadata: self.metadata.clone(),
        }
    }
}

impl Records {
    pub(super) fn len(&self) -> usize {
        self.by_user.len()
    }

    /// What others see of a user.
    pub(super) fn get(&self, now: Now, user: &str, connected: bool) -> Presence {
        match self.by_user.get(user) {
            Some(record) => record.shown(now.ms),
            None => Presence::derived(connected),
        }
    }

    /// Changes what is known of a user; what others see then. `connected`: whether it has connections.
    ///
    /// # Errors
    /// `MessageTooLarge`: all metadata together would be more than it may be. `Overloaded`: as much is known as may be. Nothing is
    /// changed then.
    pub(super) fn set(
        &mut self,
        now: Now,
        user: &UserId,
        change: PresenceChange,
        connected: bool,
        settings: &PresenceSettings,
    ) -> Result<Presence, ErrorCode> {
        let known = self.by_user.contains_key(user);
        if !known && self.by_user.len() >= PRESENCE_RECORDS_MAX {
            return Err(ErrorCode::Overloaded);
        }
        let says_status = matches!(change.status, Change::Set(_));
        let mut fresh = Record {
            heard_ms: now.ms,
            ..Record::default()
        };
        let record = self.by_user.get_mut(user).unwrap_or(&mut fresh);
        record.change(change)?;
        if !connected {
            // Of a user without connections its service knows better, for a while.
            let forget_ms = now.ms.saturating_add(settings.status_expiration_ms);
            let away = record.away.get_or_insert(Away {
                last_seen: None,
                offline_ms: now.ms,
                forget_ms,
            });
            away.forget_ms = away.forget_ms.max(forget_ms);
            if says_status {
                away.offline_ms = forget_ms;
            }
        }
        let shown = record.shown(now.ms);
        if !known {
            self.by_user.insert(user.clone(), fresh);
        }
        Ok(shown)
    }

    /// The user has come into a chat room: that is where it is. False: as much is known as may be.
    pub(super) fn entered(
        &mut self,
        now: Now,
        user: &UserId,
        room: &str,
        connected: bool,
        settings: &PresenceSettings,
    ) -> bool {
        let change = PresenceChange {
            current_room: Change::Set(room.into()),
            ..PresenceChange::default()
        };
        let set = self.set(now, user, change, connected, settings);
        if let Some(record) = self.by_user.get_mut(user) {
            record.rooms.enter(room);
        }
        set.is_ok()
    }

    /// The user has left a chat room: if that is what it shows, it is where it came before, if it has not left that. Whether anything has changed.
    pub(super) fn left(&mut self, user: &str, room: &str) -> bool {
        let Some(record) = self.by_user.get_mut(user) else {
            return false;
        };
        record.rooms.leave(room);
        let shown = record.current_room.as_deref() == Some(room);
        if shown {
            record.current_room = record.rooms.last().map(Into::into);
        }
        shown
    }

    /// A connection of the user has come, or one that was silent has said something. `connected`: whether it still has connections;
    /// what is said together with a goodbye is heard of when the connection is counted out already.
    pub(super) fn speaks(&mut self, now: Now, user: &str, connected: bool) {
        let Some(record) = self.by_user.get_mut(user) else {
            return;
        };
        record.heard_ms = now.ms;
        match &mut record.away {
            Some(away) if !connected => away.last_seen = Some(now.unix_ms),
            away => *away = None,
        }
    }

    /// So many shards are asked when the user's connections spoke.
    pub(super) fn begin_round(&mut self, user: &str, shards: usize, since_ms: u64) -> u32 {
        self.rounds = self.rounds.wrapping_add(1);
        if let Some(record) = self.by_user.get_mut(user) {
            record.round = Round {
                number: self.rounds,
                missing: shards,
                since_ms,
            };
        }
        self.rounds
    }

    /// One of them has answered. When all have and nothing was heard for too long, the user counts as offline (contract R2).
    pub(super) fn note_heard(&mut self, now: Now, user: &str, round: u32, heard_ms: u64) {
        let record = self.by_user.get_mut(user);
        let open = |record: &Record| record.round.number == round && record.round.missing > 0;
        let Some(record) = record.filter(|record| open(record)) else {
            return;
        };
        record.round.missing -= 1;
        record.heard_ms = record.heard_ms.max(heard_ms);
        let silent = record.heard_ms <= record.round.since_ms;
        if record.round.missing == 0 && record.away.is_none() && silent {
            let silent_ms = now.ms.saturating_sub(record.heard_ms);
            record.away = Some(Away {
                last_seen: Some(now.unix_ms.saturating_sub(silent_ms)),
                offline_ms: now.ms,
                forget_ms: NOT_YET,
            });
        }
    }

    /// The user's last connection has gone (contract R7, decision D6).
    pub(super) fn went(&mut self, now: Now, user: &str, settings: &PresenceSettings) {
        if let Some(record) = self.by_user.get_mut(user) {
            let offline_ms = now.ms.saturating_add(settings.grace_ms);
            let forget_ms = offline_ms.saturating_add(settings.status_expiration_ms);
            let away = record.away.get_or_insert(Away {
                last_seen: Some(now.unix_ms),
                offline_ms,
                forget_ms,
            });
            away.forget_ms = forget_ms;
        }
    }

    /// When a user is to be looked at; none: nothing is known of it, or it is looked at no later than that anyway.
    pub(super) fn arm(&mut self, user: &str, settings: &PresenceSettings) -> Option<u64> {
        let record = self.by_user.get_mut(user)?;
        let due = match record.away {
            Some(away) if away.forget_ms == NOT_YET => return None,
            Some(away) => away.forget_ms,
            // Somebody has still to answer, and is waited for.
            None if record.round.missing > 0 => return None,
            None => record
                .heard_ms
                .saturating_add(settings.heartbeat_timeout_ms),
        };
        let sooner = record.look_ms == 0 || due < record.look_ms;
        sooner.then(|| {
            record.look_ms = due;
            due
        })
    }

    /// It is time to look at a user: forgets it if it has not been there for long enough. True: nothing is known to have been heard of
    /// it for too long, and its connections are to be asked.
    pub(super) fn look_at(
        &mut self,
        now: Now,
        user: &str,
        connected: bool,
        settings: &PresenceSettings,
    ) -> bool {
        let Some(record) = self.by_user.get_mut(user) else {
            return false;
        };
        record.look_ms = 0;
        match record.away {
            Some(away) => {
                if now.ms >= away.forget_ms {
                    self.by_user.remove(user);
                }
                false
            }
            None => {
                let due = record
                    .heard_ms
                    .saturating_add(settings.heartbeat_timeout_ms);
                connected && record.round.missing == 0 && now.ms >= due
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(ms: u64) -> Now {
        Now {
            ms,
            unix_ms: 1_000_000 + ms,
        }
    }

    fn change(json: &str) -> PresenceChange {
        PresenceChange::read(json).unwrap()
    }

    struct Ann(Records, PresenceSettings, bool);

    impl Ann {
        fn set(&mut self, ms: u64, json: &str) -> Result<String, ErrorCode> {
            let (settings, connected) = (self.1.clone(), self.2);
            let shown = self
                .0
                .set(at(ms), &"ann".into(), change(json), connected, &settings)?;
            Ok(shown.to_json())
        }

        fn get(&self, ms: u64) -> String {
            self.0.get(at(ms), "ann", self.2).to_json()
        }
    }

    fn ann() -> Ann {
        Ann(Records::default(), PresenceSettings::default(), true)
    }

    #[test]
    fn contract_r4_d7_fields_are_merged_and_null_removes() {
        let mut ann = ann();
        assert_eq!(ann.get(0), r#"{"status":"online"}"#);
        let set = ann.set(
            0,
            r#"{"status":"busy","metadata":{"device":"phone","location":"Ulm"},"username":"Ann"}"#,
        );
        assert_eq!(
            set.unwrap(),
            r#"{"status":"busy","username":"Ann","metadata":{"device":"phone","location":"Ulm"}}"#
        );
        let set = ann.set(
            1,
            r#"{"currentRoom":"lobby","metadata":{"device":null,"os":1}}"#,
        );
        assert_eq!(
            set.unwrap(),
            r#"{"status":"busy","username":"Ann","currentRoom":"lobby","metadata":{"location":"Ulm","os":1}}"#
        );
        let set = ann.set(
            2,
            r#"{"status":null,"username":null,"currentRoom":null,"metadata":null}"#,
        );
        assert_eq!(set.unwrap(), r#"{"status":"online"}"#);
    }

    #[test]
    fn what_is_too_much_changes_nothing() {
        let mut ann = ann();
        let half = "x".repeat(PRESENCE_METADATA_BYTES_MAX / 2);
        ann.set(0, &format!(r#"{{"metadata":{{"a":"{half}"}}}}"#))
            .unwrap();
        let before = ann.get(0);
        let more = ann.set(
            0,
            &format!(r#"{{"status":"busy","metadata":{{"b":"{half}"}}}}"#),
        );
        assert_eq!(more, Err(ErrorCode::MessageTooLarge));
        assert_eq!(ann.get(0), before);
    }

    #[test]
    fn contract_r3_r7_d6_offline_after_the_grace_period_and_forgotten_in_the_end() {
        let mut ann = ann();
        let settings = ann.1.clone();
        ann.set(0, r#"{"status":"busy","username":"Ann"}"#).unwrap();
        ann.2 = false;
        ann.0.went(at(5_000), "ann", &settings);
        assert!(ann.get(14_999).contains("busy"), "the grace period");
        let gone = r#"{"status":"offline","lastSeen":1005000,"username":"Ann"}"#;
        assert_eq!(ann.get(15_000), gone);
        assert_eq!(ann.0.arm("ann", &settings), Some(315_000));
        assert_eq!(ann.0.arm("ann", &settings), None, "once is enough");
        ann.0.look_at(at(314_999), "ann", false, &settings);
        assert_eq!(ann.get(314_999), gone);
        ann.0.look_at(at(315_000), "ann", false, &settings);
        assert_eq!(ann.get(315_000), r#"{"status":"offline"}"#);
        assert_eq!(ann.0.len(), 0);
    }

    #[test]
    fn contract_d6_who_comes_back_is_as_before() {
        let mut ann = ann();
        let settings = ann.1.clone();
        ann.set(0, r#"{"status":"busy"}"#).unwrap();
        ann.0.went(at(0), "ann", &settings);
        ann.0.speaks(at(100), "ann", true);
        assert_eq!(ann.get(100_000), r#"{"status":"busy"}"#);
        ann.0.look_at(at(400_000), "ann", true, &settings);
        assert_eq!(ann.0.len(), 1, "it is there");
    }

    #[test]
    fn contract_r3_what_a_service_says_of_an_absent_user_holds_for_a_while() {
        let mut ann = ann();
        ann.2 = false;
        assert_eq!(
            ann.set(0, r#"{"username":"Ann"}"#).unwrap(),
            r#"{"status":"offline","username":"Ann"}"#
        );
        ann.set(10, r#"{"status":"online"}"#).unwrap();
        assert!(ann.get(300_009).contains("online"));
        assert!(ann.get(300_010).contains("offline"));
    }

    #[test]
    fn contract_r2_who_is_silent_is_offline_once_everybody_has_answered() {
        let mut ann = ann();
        let settings = ann.1.clone();
        ann.set(0, r#"{"status":"busy"}"#).unwrap();
        assert_eq!(ann.0.arm("ann", &settings), Some(90_000));
        assert!(ann.0.look_at(at(90_000), "ann", true, &settings));
        let round = ann.0.begin_round("ann", 2, 0);
        assert_eq!(ann.0.arm("ann", &settings), None, "it is being asked");
        ann.0.note_heard(at(90_001), "ann", round, 0);
        assert!(ann.get(90_001).contains("busy"));
        ann.0.note_heard(at(90_002), "ann", round, 40_000);
        assert!(ann.get(90_002).contains("busy"), "one has heard something");
        assert_eq!(ann.0.arm("ann", &settings), Some(130_000));
        assert!(ann.0.look_at(at(130_000), "ann", true, &settings));
        let round = ann.0.begin_round("ann", 1, 40_000);
        ann.0.note_heard(at(130_000), "ann", round - 1, 129_000);
        ann.0.note_heard(at(130_001), "ann", round, 40_000);
        assert_eq!(
            ann.get(130_001),
            r#"{"status":"offline","lastSeen":1040000}"#
        );
        assert_eq!(ann.0.arm("ann", &settings), None, "it tells when it speaks");
        ann.0.speaks(at(500_000), "ann", true);
        assert_eq!(ann.get(500_000), r#"{"status":"busy"}"#);
        assert_eq!(ann.0.arm("ann", &settings), Some(590_000));
    }

    #[test]
    fn records_are_bounded() {
        let (mut records, settings) = (Records::default(), PresenceSettings::default());
        for n in 0..PRESENCE_RECORDS_MAX {
            let user = format!("u{n}").into();
            let set = records.set(at(0), &user, PresenceChange::default(), true, &settings);
            assert!(set.is_ok());
        }
        let mut set = |user: &str| records.set(at(0), &user.into(), change("{}"), true, &settings);
        assert_eq!(set("one more").map(|_| ()), Err(ErrorCode::Overloaded));
        assert!(set("u7").is_ok());
    }
}
