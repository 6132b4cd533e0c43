use super::*;

fn tracking() -> Tracking {
    Tracking {
        id: 0x5f,
        at: Timestamp::parse("2031-02-03T04:05:06.1234567Z").unwrap(),
    }
}

const TRACKING_TEXT: &str = "0000000000000000000000000000005f-G:1-TimeStamp:02/03/2031 04:05:06";

#[test]
fn the_table_is_consistent() {
    for (at, code) in ErrorCode::ALL.iter().copied().enumerate() {
        assert_eq!(ErrorCode::from_name(code.name()), Some(code));
        assert_eq!(ErrorCode::from_number(code.number()), Some(code));
        assert!((400..=504).contains(&code.status()), "{code:?}");
        if let Some(next) = ErrorCode::ALL.get(at + 1) {
            assert!(code.number() < next.number(), "{code:?} and {next:?}");
        }
    }
    assert_eq!(ErrorCode::JobAlreadyExists.number(), 409_104);
    assert_eq!(ErrorCode::OperationNotAllowedInCurrentState.status(), 405);
    assert_eq!(ErrorCode::ThrottlingException.name(), "ThrottlingException");
}

#[test]
fn the_classic_body_has_code_text_and_tracking_id() {
    let body = ErrorBody::classic(ErrorCode::DeviceNotFound, "no device 'd1'", tracking());
    assert_eq!(
        body.to_json(),
        format!(
            r#"{{"Message":"ErrorCode:DeviceNotFound;no device 'd1'","ExceptionMessage":"Tracking ID:{TRACKING_TEXT}","errorCode":404001}}"#
        )
    );
}

#[test]
fn a_text_never_has_a_second_semicolon_and_is_never_empty() {
    let message = |text| ErrorBody::classic(ErrorCode::ArgumentInvalid, text, tracking()).message;
    assert_eq!(message("a; b;c"), "ErrorCode:ArgumentInvalid;a, b,c");
    assert_eq!(message(" "), "ErrorCode:ArgumentInvalid;ArgumentInvalid");
}

#[test]
fn the_nested_body_holds_json_inside_json() {
    let body = ErrorBody::nested(
        ErrorCode::DeviceNotOnline,
        "Timed out waiting for device to connect.",
        Some(0),
        tracking(),
    );
    let outer: serde_json::Value = serde_json::from_str(&body.to_json()).unwrap();
    assert_eq!(outer["ExceptionMessage"], "");
    assert!(outer.get("errorCode").is_none());
    let inner: serde_json::Value =
        serde_json::from_str(outer["Message"].as_str().unwrap()).unwrap();
    assert_eq!(
        inner,
        serde_json::json!({
            "errorCode": 404103,
            "trackingId": TRACKING_TEXT,
            "message": "Timed out waiting for device to connect.",
            "info": {"timeout": "00:00:00"},
            "timestampUtc": "2031-02-03T04:05:06.1234560Z",
        })
    );
    let late = ErrorBody::nested(ErrorCode::GatewayTimeout, "late", None, tracking());
    assert!(late.message.contains(r#""info":{}"#), "{}", late.message);
    assert_eq!(clock_form(3_725), "01:02:05");
}

#[test]
fn devices_get_the_flat_body() {
    let body = device_error_body(ErrorCode::ArgumentInvalid, "bad key", tracking());
    assert_eq!(
        body,
        format!(
            r#"{{"errorCode":400004,"trackingId":"{TRACKING_TEXT}","message":"bad key","timestampUtc":"2031-02-03T04:05:06.1234560Z"}}"#
        )
    );
}

#[test]
fn a_client_reads_every_form() {
    let want = |text: &str, code: ErrorCode| ErrorReport {
        name: Some(code.name().to_owned()),
        number: Some(code.number()),
        text: text.to_owned(),
        tracking_id: Some(TRACKING_TEXT.to_owned()),
    };
    let code = ErrorCode::JobNotFound;
    let classic = ErrorBody::classic(code, "no job", tracking()).to_json();
    assert_eq!(
        ErrorReport::parse(classic.as_bytes()),
        Some(want("no job", code))
    );

    let code = ErrorCode::DeviceNotOnline;
    let nested = ErrorBody::nested(code, "gone", Some(5), tracking()).to_json();
    assert_eq!(
        ErrorReport::parse(nested.as_bytes()),
        Some(want("gone", code))
    );

    let flat = device_error_body(code, "gone", tracking());
    assert_eq!(
        ErrorReport::parse(flat.as_bytes()),
        Some(want("gone", code))
    );
}

#[test]
fn a_client_survives_other_bodies() {
    let named = ErrorReport::parse(br#"{"Message":"ErrorCode:JobNotFound;x"}"#).unwrap();
    assert_eq!(named.code(), Some(ErrorCode::JobNotFound));
    assert_eq!(named.tracking_id, None);
    let plain = ErrorReport::parse(br#"{"Message":"an error"}"#).unwrap();
    assert_eq!((plain.text.as_str(), plain.code()), ("an error", None));
    for body in ["", "<html>", "{}", "[]", r#"{"error":"x"}"#] {
        assert_eq!(ErrorReport::parse(body.as_bytes()), None, "{body}");
    }
}
