//! Bodies, queries and path ids, read strictly: what is wrong is named field by field.
//!
//! A handler takes its permit before any of these, so that who asks is settled first.

use std::future::{Future, ready};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::rt::time::timeout;
use actix_web::{FromRequest, HttpRequest, web};
use serde::de::DeserializeOwned;

use super::guard::Guard;
use super::order::AfterPermit;
use super::problem::{Answer, Problem};
use crate::kit::complaint::{Complaint, Words};
use crate::kit::error::{Code, Error, Result};
use crate::kit::id::{Id, Kind};
use crate::kit::keys::{Digest32, sha256};

const LONGEST_BODY: usize = 64 * 1024;

/// A JSON body of at most 64 KiB.
#[derive(Default)]
pub struct Json<T> {
    pub value: T,
    /// SHA-256 of the body without what JSON leaves free: spaces, escapes, the order of keys. Zeros where none was sent.
    pub digest: Digest32,
}

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = AfterPermit<Self>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = is_json(req.headers());
        let body = whole(req, payload);
        AfterPermit::new(req, async move {
            if !is_json {
                return Err(Problem(Error::Refused(Code::UnsupportedMediaType)));
            }
            Ok(parse(&body.await?)?)
        })
    }
}

/// A JSON body that may be left out. One that is there is read as strictly as [`Json`] does: actix's `Option` would take
/// a wrong body for none.
pub struct OptionalJson<T>(pub Option<Json<T>>);

impl<T: DeserializeOwned + 'static> FromRequest for OptionalJson<T> {
    type Error = Problem;
    type Future = AfterPermit<Self>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = is_json(req.headers());
        let body = whole(req, payload);
        AfterPermit::new(req, async move {
            let bytes = body.await?;
            match (bytes.is_empty(), is_json) {
                (true, _) => Ok(OptionalJson(None)),
                (false, true) => Ok(OptionalJson(Some(parse(&bytes)?))),
                (false, false) => Err(Problem(Error::Refused(Code::UnsupportedMediaType))),
            }
        })
    }
}

/// All of a body, if it is not too long and comes in time.
pub fn whole(req: &HttpRequest, payload: &mut Payload) -> impl Future<Output = Result<web::Bytes>> + use<> {
    let unreadable = |_| Error::Refused(Code::MalformedJson);
    let deadline = Guard::of(req).map_or(Duration::MAX, |guard| guard.body);
    let announced = req.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let body = web::Payload::from_request(req, payload);
    async move {
        if announced.is_some_and(|length: usize| length > LONGEST_BODY) {
            return Err(Error::Refused(Code::PayloadTooLarge));
        }
        match timeout(deadline, body.await.map_err(unreadable)?.to_bytes_limited(LONGEST_BODY)).await {
            Ok(Ok(bytes)) => bytes.map_err(unreadable),
            Ok(Err(_)) => Err(Error::Refused(Code::PayloadTooLarge)),
            Err(_) => Err(Error::Refused(Code::RequestTimeout)),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let content_type = text(header::CONTENT_TYPE).to_ascii_lowercase().replace([' ', '"'], "");
    let plain = matches!(text(header::CONTENT_ENCODING), "" | "identity");
    plain && matches!(content_type.as_str(), "application/json" | "application/json;charset=utf-8")
}

/// A body as a `T`, and its digest. `malformed_json` for what is no JSON or names a key twice; else the wrong field.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<Json<T>> {
    let malformed = |_| Error::Refused(Code::MalformedJson);
    let mut whole: serde_json::Value = serde_json::from_slice(bytes).map_err(malformed)?;
    whole.sort_all_objects();
    if !whole.is_object() {
        // serde would take an array for a struct, its values in the order of the fields
        return Err(Error::invalid("body", Complaint::NotAnObject));
    }
    let digest = sha256(whole.to_string().as_bytes());
    // from the bytes again: a `Value` has already forgotten that a key came twice
    let mut from = serde_json::Deserializer::from_slice(bytes);
    let error = match serde_path_to_error::deserialize(&mut from) {
        Ok(value) => return Ok(Json { value, digest }),
        Err(error) => error,
    };
    let said = error.inner().to_string();
    let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
    if said.starts_with("duplicate field") {
        return Err(Error::Refused(Code::MalformedJson));
    }
    Err(field_error(&error.path().to_string(), said))
}

/// The query string as a struct, each key at most once. As `flatten` would let unknown keys through, lists have
/// `cursor: Option<String>` and `limit: Option<i64>` of their own, for [`Cursors::page`](super::list::Cursors::page).
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Query<T> {
    type Error = Problem;
    type Future = AfterPermit<Self>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        AfterPermit::new(req, ready(parse_query(req.query_string()).map(Query).map_err(Problem)))
    }
}

fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T> {
    let from = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(from).map_err(|e| field_error(&e.path().to_string(), &e.inner().to_string()))
}

/// A field error out of what serde says.
fn field_error(path: &str, message: &str) -> Error {
    let path = if path == "." { "" } else { path };
    // serde finds a missing or repeated field at its parent
    let of_parent = |start, said| Some((message.strip_prefix(start)?.strip_suffix('`')?, said));
    let missing = of_parent("missing field `", Complaint::Missing);
    match missing.or_else(|| of_parent("duplicate field `", Complaint::Twice)) {
        Some((field, said)) if path.is_empty() => Error::invalid(field, said),
        Some((field, said)) => Error::invalid(&format!("{path}.{field}"), said),
        None => {
            let said = Complaint::out_of(message).unwrap_or_else(|| complaint(message));
            Error::invalid(if path.is_empty() { "body" } else { path }, said)
        }
    }
}

/// What serde says of its own, in our words: it may quote what was sent, which may be somebody's name.
fn complaint(message: &str) -> Complaint {
    // what was sent stands before, so this is never of it
    let wanted = message.rsplit_once(", expected ").map_or("", |(_, wanted)| wanted);
    if message.starts_with("unknown field `") && wanted.ends_with('`') {
        let known = wanted.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        return Complaint::Unknown { known: Words(known) };
    }
    if message.starts_with("invalid value: integer ") {
        return Complaint::TooFarFromZero;
    }
    match wanted {
        "a string" => return Complaint::NotText,
        "a boolean" => return Complaint::NotYesOrNo,
        "a sequence" => return Complaint::NotAList,
        "an object" => return Complaint::NotAnObject,
        "i32" | "i64" => return Complaint::NotAWholeNumber,
        _ => {}
    }
    // of a query, where all is text first, it is the standard library that speaks
    match message {
        "invalid digit found in string" | "cannot parse integer from empty string" => Complaint::NotAWholeNumber,
        "number too large to fit in target type" | "number too small to fit in target type" => {
            Complaint::TooFarFromZero
        }
        _ => Complaint::OtherForm,
    }
}

/// The first id in the path. What is no such id names nothing: 404.
pub struct PathId<K: Kind>(pub Id<K>);

impl<K: Kind> FromRequest for PathId<K> {
    type Error = Problem;
    type Future = AfterPermit<Self>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        AfterPermit::new(req, ready(path_id(req, 0).map(PathId)))
    }
}

/// The first two ids in the path.
pub struct PathIds<K: Kind, L: Kind>(pub Id<K>, pub Id<L>);

impl<K: Kind, L: Kind> FromRequest for PathIds<K, L> {
    type Error = Problem;
    type Future = AfterPermit<Self>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        AfterPermit::new(req, ready(path_id(req, 0).and_then(|first| Ok(PathIds(first, path_id(req, 1)?)))))
    }
}

fn path_id<K: Kind>(req: &HttpRequest, position: usize) -> Answer<Id<K>> {
    let segment = req.match_info().iter().nth(position).map(|(_, value)| value);
    segment.and_then(|text| text.parse().ok()).ok_or(Problem(Error::Refused(Code::NotFound)))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use serde::Deserialize;

    use super::*;
    use crate::kit::id::HouseholdId;
    use crate::kit::money::Cents;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Order {
        name: String,
        lines: Vec<Line>,
        note: Option<String>,
        count: Option<i32>,
        paid: Option<bool>,
        #[serde(default, deserialize_with = "crate::kit::object::maybe_object")]
        first: Option<Line>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Line {
        amount: Cents,
    }

    fn order(text: &str) -> Result<Json<Order>> {
        parse(text.as_bytes())
    }

    fn field(error: Error) -> (String, Complaint) {
        match error {
            Error::Invalid(mut fields) => {
                let only = fields.remove(0);
                (only.field, only.complaint)
            }
            other => panic!("{other:?}"),
        }
    }

    fn unknown(known: &[&str]) -> Complaint {
        Complaint::Unknown { known: Words::of(known) }
    }

    #[test]
    fn a_wrong_field_is_named_by_its_path() {
        for (text, path, complaint) in [
            (r#"{"name":"a","lines":[{"amount":"1.5"},{"amount":"x"}]}"#, "lines[1].amount", Complaint::NotAnAmount),
            (r#"{"name":"a","lines":[{"amount":15}]}"#, "lines[0].amount", Complaint::NotText),
            (r#"{"name":"a","lines":[{}]}"#, "lines[0].amount", Complaint::Missing),
            (r#"{"name":"a"}"#, "lines", Complaint::Missing),
            (r#"{"name":"a","lines":{}}"#, "lines", Complaint::NotAList),
            (r#"{"name":"a","lines":[],"count":"3"}"#, "count", Complaint::NotAWholeNumber),
            (r#"{"name":"a","lines":[],"count":3.5}"#, "count", Complaint::NotAWholeNumber),
            (r#"{"name":"a","lines":[],"count":3000000000}"#, "count", Complaint::TooFarFromZero),
            (r#"{"name":"a","lines":[],"count":18446744073709551615}"#, "count", Complaint::TooFarFromZero),
            (r#"{"name":"a","lines":[],"paid":"yes"}"#, "paid", Complaint::NotYesOrNo),
            (r#"{"name":"a","lines":[],"first":[]}"#, "first", Complaint::NotAnObject),
            (r#"{"name":"a","lines":[],"first":"x"}"#, "first", Complaint::NotAnObject),
            (r#"{"name":"a","lines":[{"amount":"1","vat":2}]}"#, "lines[0].vat", unknown(&["amount"])),
            (r#"["a",[],null]"#, "body", Complaint::NotAnObject),
            ("7", "body", Complaint::NotAnObject),
        ] {
            assert_eq!(field(order(text).err().unwrap()), (path.to_owned(), complaint), "{text}");
        }
    }

    #[test]
    fn what_was_sent_is_not_said_again() {
        let known = unknown(&["name", "lines", "note", "count", "paid", "first"]);
        for (name, value) in [
            ("count", "Lucienne, expected `Lucienne`"),
            ("paid", "\u{1}Lucienne` at line 1"),
            ("lines", "Missing"),
            ("Lucienne, expected `Lucienne`, there are no fields", "Lucienne"),
            ("Lucienne`, expected one of `Lucienne` at line 7", "Lucienne"),
        ] {
            let mut body = serde_json::json!({"name": "a", "lines": []});
            body[name] = value.into();
            let (path, complaint) = field(order(&body.to_string()).err().unwrap());
            assert_eq!(path, name);
            assert!(!format!("{complaint:?}").contains("Lucienne"), "{complaint:?}");
            assert_eq!(complaint == known, value == "Lucienne", "{complaint:?}");
        }
    }

    #[test]
    fn what_is_not_json_or_says_a_thing_twice_is_malformed() {
        for text in [
            "",
            "{",
            r#"{"name":"a","lines":[]} x"#,
            r#"{"name":"a","name":"b","lines":[]}"#,
            r#"{"name":"a","lines":[{"amount":"1","amount":"2"}]}"#,
            "{\"name\":\"\u{1}\",\"lines\":[]}",
            &"[".repeat(5000),
        ] {
            assert_eq!(order(text).err(), Some(Error::Refused(Code::MalformedJson)), "{text}");
        }
        assert_eq!(parse::<Order>(b"{\"name\":\"\xff\"}").err(), Some(Error::Refused(Code::MalformedJson)));
    }

    #[test]
    fn the_digest_is_of_what_a_body_says_not_of_how_it_is_written() {
        let digest = |text| order(text).map(|json| json.digest).unwrap();
        let first = digest(r#"{"name":"é","lines":[{"amount":"1.5"}]}"#);
        assert_eq!(first, digest("{ \"lines\": [ {\"amount\":\"1.5\"} ],\n \"name\":\"\\u00e9\" }"));
        assert_ne!(first, digest(r#"{"name":"é","lines":[{"amount":"1.50"}]}"#));
        assert_ne!(first, digest(r#"{"name":"é","lines":[{"amount":"1.5"}],"note":null}"#));
    }

    #[test]
    fn only_json_in_utf_8_is_taken() {
        let with = |content_type: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            headers
        };
        for good in ["application/json", "Application/JSON", "application/json; charset=UTF-8"] {
            assert!(is_json(&with(good)), "{good}");
        }
        for bad in ["", "text/json", "application/jsonp", "application/json; charset=latin1", "text/plain"] {
            assert!(!is_json(&with(bad)), "{bad}");
        }
        assert!(!is_json(&HeaderMap::new()));
        let mut packed = with("application/json");
        packed.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(!is_json(&packed));
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Filter {
        household_id: Option<HouseholdId>,
        cursor: Option<String>,
        limit: Option<i64>,
    }

    #[test]
    fn a_query_is_read_as_strictly_as_a_body() {
        let good: Filter = parse_query("limit=10&cursor=a%20b").unwrap();
        assert_eq!((good.limit, good.cursor.as_deref(), good.household_id), (Some(10), Some("a b"), None));
        for (query, path, complaint) in [
            ("limit=ten", "limit", Complaint::NotAWholeNumber),
            ("limit=", "limit", Complaint::NotAWholeNumber),
            ("limit=99999999999999999999", "limit", Complaint::TooFarFromZero),
            ("limit=-99999999999999999999", "limit", Complaint::TooFarFromZero),
            ("household_id=vch_1", "household_id", Complaint::NotAnId { prefix: "hhd".to_owned() }),
            ("colour=red", "colour", unknown(&["household_id", "cursor", "limit"])),
            ("a`, expected `b` at line =1", "a`, expected `b` at line ", unknown(&["household_id", "cursor", "limit"])),
            ("limit=1&limit=2", "limit", Complaint::Twice),
        ] {
            assert_eq!(field(parse_query::<Filter>(query).err().unwrap()), (path.to_owned(), complaint), "{query}");
        }
    }
}
