//! What is made of anything: never a panic, never taken for what this deployment made; and what it made reads back.
//!
//! Each run takes other cases; `scripts/drills/fuzz` goes on for an hour.

use std::sync::LazyLock;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use primeur::access::{Role, Settings, token};
use primeur::http::extract::parse;
use primeur::http::list::Cursors;
use primeur::kit::error::{Code as Refusal, Error};
use primeur::kit::id::{HouseholdId, OrganisationId, PersonId, SessionId, VoucherId, kind};
use primeur::kit::keys::{Keys, Secret};
use primeur::kit::money::Cents;
use primeur::kit::text::{Email, Line};
use primeur::kit::time::{Day, Instant, Month};
use primeur::voucher::code::Code;
use primeur::voucher::token::Token;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::world::directory;

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::create(&directory().join("keys"), now()).unwrap());
static ELSEWHERE: LazyLock<Keys> = LazyLock::new(|| Keys::create(&directory().join("keys"), now()).unwrap());

const HOST: &str = "cheque.exemple.fr";

fn now() -> Instant {
    Instant::from_microsecond(1_782_900_000_000_000)
}

fn settings() -> Settings {
    Settings {
        issuer: "primeur-fuzz".to_owned(),
        audience: "primeur-fuzz-api".to_owned(),
        access_minutes: 10,
        session_hours: 12,
        invitation_hours: 72,
        password_memory_kib: 8,
        password_iterations: 1,
        second_factor_required: false,
    }
}

fn card(id: [u8; 16], from: i32, days: i32) -> Token {
    Token {
        voucher: VoucherId::from_uuid(Uuid::from_bytes(id)),
        valid_from: Day::from_days_since_2000(from),
        valid_to: Day::from_days_since_2000(from + days),
        offline_ceiling: Cents(0),
    }
}

fn claims(id: [u8; 16], seconds: i64) -> token::Claims {
    let uuid = Uuid::from_bytes(id);
    token::Claims {
        iss: settings().issuer,
        aud: settings().audience,
        sub: PersonId::from_uuid(uuid),
        org: OrganisationId::from_uuid(uuid),
        role: Role::Producer,
        sid: SessionId::from_uuid(uuid),
        iat: now().as_second(),
        exp: now().as_second() + seconds,
    }
}

/// A list's page behind a cursor.
fn read(cursors: &Cursors, cursor: &str) -> Result<Option<HouseholdId>, Error> {
    cursors.page::<kind::Household>(&Some(cursor.to_owned()), &None).map(|page| page.after)
}

/// One of everything that a body may hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Anything {
    id: Option<VoucherId>,
    amount: Option<Cents>,
    day: Option<Day>,
    at: Option<Instant>,
    name: Option<Line<20>>,
    email: Option<Email>,
    #[serde(default, deserialize_with = "primeur::kit::object::objects")]
    more: Vec<Anything>,
}

impl Anything {
    /// What was read keeps to the bounds of its types, at any depth.
    fn is_sound(&self) -> bool {
        let Anything { id, amount, day, at, name, email, more } = self;
        id.is_none_or(|id| id.to_string().len() == 30)
            && amount.is_none_or(|amount| (Cents::ZERO..=Cents::MAX_INPUT).contains(&amount))
            && day.is_none_or(|day| day.to_string().len() == 10)
            && at.is_none_or(|at| at.to_string().ends_with('Z'))
            && name.as_ref().is_none_or(|name| (1..=20).contains(&name.as_str().chars().count()))
            && email.as_ref().is_none_or(|email| email.as_str().contains('@'))
            && more.iter().all(Anything::is_sound)
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,30}".prop_map(Value::from),
        "[0-9]{1,12}(\\.[0-9]{0,3})?".prop_map(Value::from),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}".prop_map(Value::from),
        "vch_[0-9a-v]{24,27}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inside| {
        let name = prop_oneof![
            4 => "(id|amount|day|at|name|email|more)",
            1 => ".{0,5}",
        ];
        prop_oneof![
            prop::collection::vec(inside.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name, inside, 0..5).prop_map(|fields| json!(fields)),
        ]
    })
}

/// Bytes with one of them another one.
fn changed(text: &str, place: prop::sample::Index, to: char) -> Option<String> {
    let mut characters: Vec<char> = text.chars().collect();
    let place = place.index(characters.len());
    let differs = !characters[place].eq_ignore_ascii_case(&to);
    characters[place] = to;
    differs.then(|| characters.into_iter().collect())
}

proptest! {
    #[test]
    fn a_card_reads_back_and_no_changed_cut_or_foreign_one_does(
        id in any::<[u8; 16]>(), from in 0i32..40_000, days in 0i32..20_000,
        place in any::<prop::sample::Index>(), to in any::<char>(), length in 0usize..200,
    ) {
        let text = card(id, from, days).encode(&KEYS.voucher, HOST);
        prop_assert_eq!(Token::decode(&text, &KEYS.voucher), Ok(card(id, from, days)));
        let code = &text[text.rfind('/').unwrap() + 1..];
        if let Some(other) = changed(code, place, to) {
            // a space at an end is not of the text
            prop_assume!(other.trim() == other);
            prop_assert!(Token::decode(&other, &KEYS.voucher).is_err(), "{}", other);
        }
        if length < code.len() {
            prop_assert!(Token::decode(&code[..length], &KEYS.voucher).is_err());
        }
        prop_assert!(Token::decode(&text, &KEYS.login).is_err());
        prop_assert!(Token::decode(&card(id, from, days).encode(&ELSEWHERE.voucher, HOST), &KEYS.voucher).is_err());
    }

    #[test]
    fn no_text_is_a_card(text in ".{0,400}", bytes in prop::collection::vec(any::<u8>(), 0..120), right in any::<[u8; 64]>()) {
        prop_assert!(Token::decode(&text, &KEYS.voucher).is_err());
        prop_assert!(Token::decode(&BASE32_NOPAD.encode(&bytes), &KEYS.voucher).is_err());
        // with the right version, key and length, and only the signature guessed
        let mut shaped = vec![1];
        shaped.extend(KEYS.voucher.current().0.0);
        shaped.extend(bytes.iter().copied().chain(std::iter::repeat(0)).take(22));
        shaped.extend(right);
        prop_assert!(Token::decode(&BASE32_NOPAD.encode(&shaped), &KEYS.voucher).is_err());
    }

    #[test]
    fn a_typed_code_reads_back_and_one_wrong_symbol_shows(
        id in any::<[u8; 16]>(), attempt in 0i32..5, place in any::<prop::sample::Index>(), to in "[0-9A-HJKMNP-TV-Z]",
        text in ".{0,40}", close in "[0-9A-Za-z -]{10,16}",
    ) {
        let code = Code::of(&KEYS.secret, VoucherId::from_uuid(Uuid::from_bytes(id)), attempt);
        let written = code.to_string();
        prop_assert!(written.parse::<Code>() == Ok(code));
        prop_assert!(written.to_lowercase().replace('-', " ").parse::<Code>() == Ok(code));
        let symbols = written.replace('-', "");
        if let Some(other) = changed(&symbols, place, to.chars().next().unwrap()) {
            prop_assert!(other.parse::<Code>().is_err(), "{}", other);
        }
        // what is read at all reads as what it says
        for text in [text, close] {
            if let Ok(read) = text.parse::<Code>() {
                prop_assert!(read.to_string().parse::<Code>() == Ok(read));
            }
        }
    }

    #[test]
    fn a_cursor_reads_back_and_no_other_text_is_one(
        id in any::<[u8; 16]>(), organisation in any::<[u8; 16]>(), secret in any::<[u8; 32]>(),
        place in any::<prop::sample::Index>(), to in any::<char>(), text in ".{0,60}",
        bytes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let organisation = OrganisationId::from_uuid(Uuid::from_bytes(organisation));
        let (own, path) = (Secret::new(secret), "/api/v1/households");
        let cursors = Cursors::new(&own, organisation, path);
        let id = HouseholdId::from_uuid(Uuid::from_bytes(id));
        let cursor = cursors.list([()], Some(id)).next_cursor.unwrap();
        prop_assert_eq!(read(&cursors, &cursor), Ok(Some(id)));
        let mut bad = vec![text, BASE64URL_NOPAD.encode(&bytes)];
        // base64url tells letter cases apart
        let characters: Vec<char> = cursor.chars().collect();
        let mut other = characters.clone();
        other[place.index(characters.len())] = to;
        if other != characters {
            bad.push(other.into_iter().collect());
        }
        for bad in bad {
            prop_assert_eq!(read(&cursors, &bad), Err(Error::Refused(Refusal::InvalidCursor)), "{}", bad);
        }
        prop_assert!(read(&Cursors::new(&own, organisation, "/api/v1/vouchers"), &cursor).is_err());
        prop_assert!(read(&Cursors::new(&KEYS.secret, organisation, path), &cursor).is_err());
    }

    #[test]
    fn a_login_token_reads_back_and_no_changed_or_foreign_one_does(
        id in any::<[u8; 16]>(), seconds in 1i64..3600, late in 0i64..7200,
        place in any::<prop::sample::Index>(), to in any::<char>(),
    ) {
        let made = claims(id, seconds);
        let text = token::sign(&KEYS.login, &made).unwrap();
        let at = |seconds| token::verify(&KEYS.login, &settings(), now().plus_seconds(seconds), &text);
        prop_assert_eq!(at(0).map(|(claims, _)| claims), Ok(made.clone()));
        prop_assert_eq!(at(late).is_ok(), late < seconds);
        let mut other: Vec<char> = text.chars().collect();
        let place = place.index(other.len());
        if other[place] != to {
            other[place] = to;
            let other: String = other.into_iter().collect();
            let read = token::verify(&KEYS.login, &settings(), now(), &other);
            prop_assert_eq!(read, Err(Error::Refused(Refusal::Unauthenticated)), "{}", other);
        }
        let foreign = token::sign(&ELSEWHERE.login, &made).unwrap();
        prop_assert!(token::verify(&KEYS.login, &settings(), now(), &foreign).is_err());
    }

    #[test]
    fn no_text_is_a_login_token(
        text in ".{0,300}", alg in "(EdDSA|none|HS256|HS512|RS256|ES256|PS384|.{0,6})", more in json_value(),
        signature in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let header = json!({"alg": alg, "typ": "at+jwt", "kid": KEYS.login.current().0.to_string()});
        let body = serde_json::to_value(claims([7; 16], 600)).unwrap();
        let signature = BASE64URL_NOPAD.encode(&signature);
        for text in [
            text,
            format!("{}.{}.{signature}", encode(&header), encode(&body)),
            format!("{}.{}.{signature}", encode(&more), encode(&body)),
            format!("{}.{}.{signature}", encode(&header), encode(&more)),
        ] {
            let read = token::verify(&KEYS.login, &settings(), now(), &text);
            prop_assert_eq!(read, Err(Error::Refused(Refusal::Unauthenticated)), "{}", text);
        }
    }

    #[test]
    fn any_bytes_are_a_body_or_are_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..200), value in json_value(), cut in any::<prop::sample::Index>(),
    ) {
        let text = value.to_string();
        for body in [&bytes[..], text.as_bytes(), &text.as_bytes()[..cut.index(text.len() + 1)]] {
            match parse::<Anything>(body) {
                Ok(read) => {
                    prop_assert!(read.value.is_sound(), "{:?}", read.value);
                    prop_assert!(read.digest == parse::<Value>(body).map(|whole| whole.digest).unwrap());
                }
                Err(Error::Refused(Refusal::MalformedJson)) => {}
                Err(Error::Invalid(fields)) => prop_assert!(!fields.is_empty() && !fields[0].complaint.to_string().is_empty()),
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }
    }

    #[test]
    fn a_value_is_read_as_it_is_written_or_not_at_all(text in ".{0,30}", like in "[0-9.+e-]{1,14}", cents in 0i64..=999_999_999_999) {
        prop_assert_eq!(Cents(cents).to_string().parse(), Ok(Cents(cents)));
        for text in [text, like] {
            if let Ok(Cents(cents)) = text.parse() {
                prop_assert!((0..=999_999_999_999).contains(&cents), "{}", text);
                prop_assert!(text.bytes().all(|b| b.is_ascii_digit() || b == b'.'), "{}", text);
            }
            if let Ok(day) = text.parse::<Day>() {
                prop_assert_eq!(day.to_string(), text.clone());
            }
            if let Ok(month) = text.parse::<Month>() {
                prop_assert_eq!(month.to_string(), text.clone());
            }
            if let Ok(id) = text.parse::<VoucherId>() {
                prop_assert_eq!(id.to_string(), text.clone());
            }
            if let Ok(line) = text.parse::<Line<20>>() {
                prop_assert!(!line.as_str().contains(char::is_control) && line.as_str() == text.trim());
            }
            let _ = text.parse::<Instant>();
        }
    }
}
