//! The page at `/`: what a newcomer sees one minute after the first start.

use shardwire_protocol::handshake::server::{Refusal, Request, write_page};

/// What is served by plain HTTP: no build step, nothing loaded from elsewhere.
pub(super) struct File {
    content_type: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! file {
    ($content_type:expr, $name:literal) => {
        Some(&File {
            content_type: $content_type,
            text: include_str!(concat!("page/", $name)),
        })
    };
}

impl File {
    pub(super) fn at(path: &str) -> Option<&'static Self> {
        match path {
            "/" => file!(HTML, "index.html"),
            "/style.css" => file!(CSS, "style.css"),
            "/page.js" => file!(SCRIPT, "page.js"),
            "/connection.js" => file!(SCRIPT, "connection.js"),
            "/people.js" => file!(SCRIPT, "people.js"),
            "/chat.js" => file!(SCRIPT, "chat.js"),
            "/editor.js" => file!(SCRIPT, "editor.js"),
            // What documents are carried with that several people edit: a module that other pages can use, too.
            "/document.js" => file!(SCRIPT, "document.js"),
            "/bell.js" => file!(SCRIPT, "bell.js"),
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
