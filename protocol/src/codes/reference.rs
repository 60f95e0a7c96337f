//! The page `docs/reference/codes.md`, written from the tables.

use super::{ERRORS, close};
use std::fmt::Write as _;

/// The text of `docs/reference/codes.md`. The test `tests/reference.rs` compares it with the file.
pub fn reference_page() -> String {
    let mut page = String::from(HEAD);
    page.push_str("\n## Error codes\n\n");
    page.push_str(ERRORS_INTRODUCTION);
    page.push_str("\n| code | error | temporary | meaning |\n| --- | --- | --- | --- |\n");
    for row in &ERRORS {
        let temporary = if row.temporary { "yes" } else { "no" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} |",
            row.code.number(),
            row.text,
            temporary,
            row.meaning
        );
    }
    page.push_str("\n## Close codes\n\n");
    page.push_str(CLOSES_INTRODUCTION);
    page.push_str("\n| code | word | client should | when |\n| --- | --- | --- | --- |\n");
    for row in &close::CLOSES {
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} |",
            row.number,
            row.word,
            row.advice.words(),
            row.meaning
        );
    }
    page
}

const HEAD: &str = "\
# Codes

Generated from `protocol/src/codes/`; do not edit. To write it anew:
`UPDATE_REFERENCE=1 cargo test -p shardwire-protocol --test reference`.
";

const ERRORS_INTRODUCTION: &str = "\
An `error` message says that one message was not carried out; the connection stays open:

```json
{\"type\":\"error\",\"error\":\"Unknown message type\",\"code\":103,\"temporary\":false,\"id\":7}
```

`id` is that of the refused message, and missing when it had none or could not be read. `temporary` says whether the
same message may succeed when sent again later.
";

const CLOSES_INTRODUCTION: &str = "\
A close code says why the connection ended, and whether its client should come back. 1000 to 1015 are those of RFC 6455;
from 4000 on the hundred decides, also for numbers that are not in the table:

| class | client should |
| --- | --- |
| 4000-4099 | come back |
| 4100-4199 | come back late |
| 4200-4299 | come back at once |
| 4500-4999 | do not come back |

Codes below 1000, 1004 to 1006, 1015 to 2999 and above 4999 never travel: a peer that sends one is closed with 1002.
";
