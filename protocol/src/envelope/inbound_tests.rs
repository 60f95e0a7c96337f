#![allow(clippy::unwrap_used)]

use super::*;

fn refused(text: &str) -> ErrorCode {
    match parse(text) {
        Ok(inbound) => panic!("{text} was taken: {inbound:?}"),
        Err(code) => code,
    }
}

#[test]
fn fields_are_borrowed() {
    let text = r#" {"type":"publish","channel":"news","message": {"a":[1, 2]} ,"exclude":"self","id":"7","data":null} "#;
    let inbound = parse(text).unwrap();
    assert_eq!(&*inbound.kind, "publish");
    let channel = inbound.channel.unwrap();
    assert_eq!(&*channel, "news");
    assert!(inbound.kind.is_borrowed() && channel.is_borrowed());
    assert!(text.as_bytes().as_ptr_range().contains(&channel.as_ptr()));
    assert_eq!(inbound.message.unwrap().get(), r#"{"a":[1, 2]}"#);
    assert_eq!(inbound.data.unwrap().get(), "null");
    assert_eq!(&*inbound.exclude.unwrap(), "self");
    assert_eq!(inbound.id.unwrap().get(), "\"7\"");
}

#[test]
fn escapes_are_read_in_names_and_values() {
    let inbound = parse(r#"{"\u0074ype":"p\u0069ng","channel":"a\"\n\ud83d\ude00"}"#).unwrap();
    assert_eq!(&*inbound.kind, "ping");
    assert!(!inbound.kind.is_borrowed());
    assert_eq!(&*inbound.channel.unwrap(), "a\"\n😀");
}

#[test]
fn unknown_fields_are_ignored_even_twice() {
    let inbound = parse(r#"{"x":1,"type":"ping","x":{"type":3},"Type":false}"#).unwrap();
    assert_eq!(&*inbound.kind, "ping");
    assert!(inbound.channel.is_none() && inbound.message.is_none() && inbound.id.is_none());
}

#[test]
fn null_is_missing_for_text_fields() {
    let inbound = parse(r#"{"type":"x","channel":null,"exclude":null,"token":null}"#).unwrap();
    assert!(inbound.channel.is_none() && inbound.exclude.is_none() && inbound.token.is_none());
    let inbound = parse(r#"{"type":"auth","token":"a.b.c"}"#).unwrap();
    assert_eq!(inbound.token.as_deref(), Some("a.b.c"));
}

#[test]
fn a_missing_type() {
    for text in ["{}", r#"{"channel":"c"}"#, r#"{"type":null}"#] {
        assert_eq!(refused(text), ErrorCode::MissingType, "{text}");
    }
    assert_eq!(&*parse(r#"{"type":""}"#).unwrap().kind, "");
}

#[test]
fn a_type_that_is_not_text() {
    for value in [
        "1",
        "-1",
        "1.5",
        "true",
        "[]",
        "[1,{}]",
        "{}",
        r#"{"a":"b"}"#,
        "18446744073709551616",
    ] {
        assert_eq!(
            refused(&format!(r#"{{"type":{value},"id":1}}"#)),
            ErrorCode::InvalidType,
            "{value}"
        );
    }
}

#[test]
fn a_format_that_is_not_ours() {
    for text in [
        "",
        " ",
        "ping",
        "\"ping\"",
        "null",
        "1",
        "[]",
        r#"["ping",null,null,null,null,null]"#,
        r#"{"type":"ping""#,
        r#"{"type":"ping"}}"#,
        r#"{"type":"ping"} x"#,
        r#"{"type":"ping",}"#,
        r#"{"type":'ping'}"#,
        r#"{type:"ping"}"#,
        r#"{"type":"ping","channel":1}"#,
        r#"{"type":"ping","exclude":["a"]}"#,
        r#"{"type":"ping","message":nul}"#,
        r#"{"type":"ping","x":[1,}"#,
        "{\"type\":\"a\nb\"}",
        r#"{"type":"\ud800"}"#,
        // Every known field twice.
        r#"{"type":"ping","type":"ping"}"#,
        r#"{"type":1,"type":1}"#,
        r#"{"type":"ping","channel":"a","channel":"b"}"#,
        r#"{"type":"ping","channel":null,"channel":null}"#,
        r#"{"type":"ping","message":1,"message":1}"#,
        r#"{"type":"ping","data":1,"data":1}"#,
        r#"{"type":"ping","exclude":"a","exclude":"a"}"#,
        r#"{"type":"ping","id":1,"id":1}"#,
    ] {
        assert_eq!(refused(text), ErrorCode::InvalidFormat, "{text}");
    }
}

#[test]
fn ids_are_short_strings_or_numbers() {
    let message = |id: &str| format!(r#"{{"type":"ping","id":{id}}}"#);
    let longest = format!("\"{}\"", "x".repeat(MAX_ID_BYTES - 2));
    for id in [
        "1",
        "-2",
        "1.5e3",
        "\"\"",
        "\"a b\"",
        "\"\\u0000\"",
        &longest,
    ] {
        assert_eq!(parse(&message(id)).unwrap().id.unwrap().get(), id);
    }
    let too_long = format!("\"{}\"", "x".repeat(MAX_ID_BYTES - 1));
    for id in ["null", "true", "false", "[]", "{}", &too_long] {
        assert_eq!(refused(&message(id)), ErrorCode::InvalidFormat, "{id}");
    }
}

#[test]
fn deep_nesting_is_refused_wherever_it_is_passed_on() {
    for field in ["message", "data"] {
        let message = |depth: usize| {
            format!(
                r#"{{"type":"x","{field}":{}{}}}"#,
                "[".repeat(depth),
                "]".repeat(depth)
            )
        };
        assert!(parse(&message(MAX_DEPTH - 1)).is_ok());
        assert_eq!(refused(&message(MAX_DEPTH)), ErrorCode::InvalidFormat);
        assert_eq!(refused(&message(30_000)), ErrorCode::InvalidFormat);
    }
    // What is not passed on costs nobody a stack either: it is passed over without recursion.
    let ignored = format!(
        r#"{{"x":{}{},"type":"ping"}}"#,
        "[".repeat(30_000),
        "]".repeat(30_000)
    );
    assert!(parse(&ignored).is_ok());
    let kind = format!(r#"{{"type":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
    assert!(matches!(
        refused(&kind),
        ErrorCode::InvalidType | ErrorCode::InvalidFormat
    ));
}

#[test]
fn fields_about_history_are_read_where_they_are_asked_for() {
    let text = r#"{"type":"x","since":{"offset":7,"epoch":"00000000000000ff"},"from":3,"limit":9,"direction":"backward",
        "idempotencyKey":"k","ttl":50,"volatile":true,"topic":"t\u0021"}"#;
    let inbound = parse(text).unwrap();
    let since = Since {
        offset: 7,
        epoch: Some(255),
    };
    assert_eq!(inbound.since(), Ok(Some(since)));
    assert_eq!(
        (inbound.from(), inbound.limit()),
        (Ok(Some(3)), Ok(Some(9)))
    );
    assert_eq!(
        (inbound.backward(), inbound.volatile()),
        (Ok(true), Ok(true))
    );
    assert_eq!(inbound.idempotency_key().unwrap().as_deref(), Some("k"));
    assert_eq!(inbound.ttl(), Ok(Some(50)));
    assert_eq!(inbound.topic().unwrap().as_deref(), Some("t!"));
    assert!(inbound.has_publish_options());
}

#[test]
fn an_applications_own_message_may_use_their_names_otherwise() {
    let text = r#"{"type":"transfer","from":"ann","limit":{"max":1},"since":null,"topic":7,"volatile":"very","ttl":-1}"#;
    let inbound = parse(text).unwrap();
    assert_eq!(inbound.since(), Ok(None));
    assert_eq!(inbound.from(), Err(ErrorCode::InvalidMessage));
    assert_eq!(inbound.limit(), Err(ErrorCode::InvalidMessage));
    assert_eq!(inbound.volatile(), Err(ErrorCode::InvalidMessage));
    assert_eq!(inbound.ttl(), Err(ErrorCode::InvalidMessage));
    assert_eq!(inbound.topic().unwrap_err(), ErrorCode::InvalidChannel);
}

#[test]
fn what_is_no_position_of_ours_is_none_of_ours() {
    let since = |json: &str| {
        parse(&format!("{{\"type\":\"subscribe\",\"since\":{json}}}"))
            .unwrap()
            .since()
    };
    for wrong in [
        "7",
        "{}",
        r#"{"offset":-1,"epoch":""}"#,
        r#"{"offset":1,"epoch":5}"#,
    ] {
        assert_eq!(since(wrong), Err(ErrorCode::InvalidMessage), "{wrong}");
    }
    for strange in [
        "\"\"",
        "\"ff\"",
        "\"+0000000000000ff\"",
        "\"00000000000000fg\"",
    ] {
        let read = since(&format!("{{\"offset\":1,\"epoch\":{strange}}}"))
            .unwrap()
            .unwrap();
        assert_eq!((read.offset, read.epoch), (1, None), "{strange}");
    }
    let key = |json: &str| {
        parse(&format!(
            "{{\"type\":\"publish\",\"idempotencyKey\":{json}}}"
        ))
        .unwrap()
        .idempotency_key()
        .is_ok()
    };
    assert!(key("\"a\"") && key("null") && !key("\"\"") && !key("1"));
    assert!(!key(&format!("\"{}\"", "k".repeat(MAX_KEY_BYTES + 1))));
}
