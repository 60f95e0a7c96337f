//! The page at `/`: what a newcomer sees one minute after the first start.

use shardwire_protocol::handshake::server::{Refusal, Request, write_page};

/// What is served by plain HTTP: no build step, nothing loaded from elsewhere.
pub(super) struct File {
    content_type: &'static str,
    text: &'static str,
}

/// The page.
const PAGE: File = File {
    content_type: "text/html; charset=utf-8",
    text: include_str!("page/index.html"),
};

/// What it carries documents with that several people edit: a module, so that other pages can use it, too.
const DOCUMENT: File = File {
    content_type: "text/javascript; charset=utf-8",
    text: include_str!("page/document.js"),
};

impl File {
    pub(super) fn at(path: &str) -> Option<&'static Self> {
        match path {
            "/" => Some(&PAGE),
            "/document.js" => Some(&DOCUMENT),
            _ => None,
        }
    }

    /// The answer to a request for it.
    pub(super) fn answer(&self, request: &Request<'_>) -> Result<Vec<u8>, Refusal> {
        let head_only = match request.method() {
            "GET" => false,
            "HEAD" => true,
            _ => return Err(Refusal::method_not_allowed()),
        };
        let mut answer = Vec::with_capacity(self.text.len() + 512);
        write_page(
            &mut answer,
            self.content_type,
            self.text.as_bytes(),
            head_only,
        );
        Ok(answer)
    }
}
