//! A client's copy of a document: what it has, the one edit it has under way, and what it makes of the server's messages.

use serde_json::Value;
use shardwire_protocol::text::{Content, Operation, Side};

/// One copy. It outlives its connections, if its user has a name.
#[derive(Clone, Debug)]
pub struct Copy {
    /// Its own number.
    pub number: usize,
    /// Of which document.
    pub document: usize,
    /// Whose.
    pub user: Option<usize>,
    /// The client that has it now.
    pub holder: Option<usize>,
    /// It was told how things are, and hears of every edit.
    pub joined: bool,
    /// What the server had no room for, to be said again later.
    pub postponed: Option<Reaction>,
    /// Nobody wants it any more.
    pub dropped: bool,
    /// Which life of the document it knows.
    pub epoch: Option<String>,
    /// The version it has.
    pub version: u64,
    /// The text of that version.
    pub text: Content,
    /// Its edit that is not acknowledged, as it would be on the text it has.
    pub under_way: Option<Operation>,
    acknowledged: u64,
}

/// What a copy's client does about what it heard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reaction {
    /// Nothing.
    Nothing,
    /// Says the edit again.
    Edit,
    /// Joins again.
    Join,
}

impl Copy {
    pub(crate) fn new(number: usize, document: usize, user: Option<usize>, holder: usize) -> Self {
        Self {
            number,
            document,
            user,
            holder: Some(holder),
            joined: false,
            postponed: None,
            dropped: false,
            epoch: None,
            version: 0,
            text: Content::default(),
            under_way: None,
            acknowledged: 0,
        }
    }

    /// The message by which it joins.
    pub(crate) fn join(&mut self, document: &str) -> String {
        (self.joined, self.postponed) = (false, None);
        let since = self.epoch.as_ref().map_or(String::new(), |epoch| {
            format!(
                ",\"since\":{{\"version\":{},\"epoch\":\"{epoch}\"}}",
                self.version
            )
        });
        format!(
            "{{\"type\":\"join-document\",\"documentId\":\"{document}\",\"replica\":\"copy {}\",\"sequence\":{}{since},\"id\":\"{}j\"}}",
            self.number, self.acknowledged, self.number
        )
    }

    /// The message by which it says its edit; none, if it has none under way.
    pub(crate) fn edit(&self, document: &str) -> Option<String> {
        let operation = self.under_way.as_ref().filter(|_| self.joined)?;
        let operation = serde_json::to_string(operation).ok()?;
        Some(format!(
            "{{\"type\":\"edit\",\"documentId\":\"{document}\",\"version\":{},\"sequence\":{},\"operation\":{operation},\"id\":\"{}e\"}}",
            self.version,
            self.acknowledged + 1,
            self.number
        ))
    }

    /// What a message about its document says to it.
    ///
    /// # Errors
    /// The server has said what it must not.
    pub(crate) fn hear(&mut self, message: &Value) -> Result<Reaction, String> {
        let strange = || format!("copy {} was told {message}", self.number);
        // An answer to a copy that its client has given up is none to this one.
        let number = |id: &str| id[..id.len() - 1].parse::<usize>().ok();
        if message["id"]
            .as_str()
            .is_some_and(|id| number(id) != Some(self.number))
        {
            return Ok(Reaction::Nothing);
        }
        let version = message["version"].as_u64();
        match message["type"].as_str().unwrap_or_default() {
            "document-state" => {
                let epoch = message["epoch"].as_str().ok_or_else(strange)?.to_owned();
                let version = version.ok_or_else(strange)?;
                let content = Content::from(message["content"].as_str().ok_or_else(strange)?);
                let known = self.epoch.as_ref() == Some(&epoch);
                if known && version < self.version {
                    return Err(format!("copy {} was sent back: {message}", self.number));
                }
                let number = message["sequence"].as_u64();
                let own = self.under_way.take();
                // It has not arrived: it is said again, behind what others have done since.
                if known && number.is_some_and(|number| number <= self.acknowledged) {
                    let theirs = self.text.difference(&content).map_err(|_| strange())?;
                    let behind = own.map(|own| own.transform(&theirs, Side::Right));
                    self.under_way = behind.transpose().map_err(|_| strange())?;
                }
                self.acknowledged = number.unwrap_or(self.acknowledged);
                (self.epoch, self.version, self.text) = (Some(epoch), version, content);
                self.joined = true;
                Ok(Reaction::Edit)
            }
            "document-edits" => {
                for edit in message["edits"].as_array().ok_or_else(strange)? {
                    self.follow(edit)?;
                }
                self.joined = true;
                Ok(Reaction::Edit)
            }
            "edit" if self.joined => self.follow(message).map(|()| Reaction::Nothing),
            "edit-ack" if self.joined => self
                .confirm(version, message["sequence"].as_u64())
                .map(|()| Reaction::Nothing),
            // The joining of a connection that is given up came late.
            "document-left" if message["reason"] == "replaced" => Ok(Reaction::Join),
            "error" => self.refused(message),
            _ => Ok(Reaction::Nothing),
        }
    }

    fn refused(&mut self, message: &Value) -> Result<Reaction, String> {
        let joining = message["id"].as_str().is_some_and(|id| id.ends_with('j'));
        match message["code"].as_u64() {
            _ if message["id"].as_str().is_some_and(|id| id.ends_with('c')) => {
                Ok(Reaction::Nothing)
            }
            // Overloaded: once more, but not at once.
            Some(110) => {
                self.postponed = Some(match joining {
                    true => Reaction::Join,
                    false => Reaction::Edit,
                });
                Ok(Reaction::Nothing)
            }
            Some(120) if !self.joined => Ok(Reaction::Nothing),
            Some(120) => Ok(Reaction::Join),
            // Too many members.
            Some(121) if joining => {
                self.dropped = true;
                Ok(Reaction::Nothing)
            }
            // Too large.
            Some(124) => {
                self.under_way = None;
                Ok(Reaction::Join)
            }
            _ => Err(format!("copy {} was refused: {message}", self.number)),
        }
    }

    fn follow(&mut self, edit: &Value) -> Result<(), String> {
        let strange = |what: &str| {
            format!(
                "{what} for copy {} at {}: {edit}",
                self.number, self.version
            )
        };
        let version = edit["version"].as_u64();
        if edit["sequence"].is_u64() {
            return self.confirm(version, edit["sequence"].as_u64());
        }
        if version != Some(self.version + 1) {
            return Err(strange("an edit out of order"));
        }
        let theirs: Operation = serde_json::from_value(edit["operation"].clone())
            .map_err(|_| strange("no operation"))?;
        let behind = self
            .under_way
            .take()
            .map(|own| own.transform(&theirs, Side::Right));
        self.under_way = behind.transpose().map_err(|_| strange("too long"))?;
        self.text
            .apply(&theirs)
            .map_err(|_| strange("an edit that does not fit"))?;
        self.version += 1;
        Ok(())
    }

    fn confirm(&mut self, version: Option<u64>, number: Option<u64>) -> Result<(), String> {
        let wrong = format!(
            "copy {} at {} with {} edits heard that its edit {number:?} made {version:?}",
            self.number, self.version, self.acknowledged
        );
        // Said twice, because the first time came to an end with its connection.
        if number.is_some_and(|number| number <= self.acknowledged) {
            return Ok(());
        }
        if version != Some(self.version + 1) || number != Some(self.acknowledged + 1) {
            return Err(wrong);
        }
        let own = self.under_way.take().ok_or_else(|| wrong.clone())?;
        self.text.apply(&own).map_err(|_| wrong)?;
        self.version += 1;
        self.acknowledged += 1;
        Ok(())
    }
}
