//! Every exchange of the suite, listened to: what a household is must not reach a producer or a funder, in any form,
//! and no secret a log. Each exchange teaches what is secret in its deployment, and is then judged.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, LazyLock, Mutex};

use data_encoding::{BASE32_NOPAD, BASE32HEX_NOPAD, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER};
use primeur::kit::time::Day;
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::contract::Exchange;

/// Fields of answers that only a household's own structure may see. `household` is not among them: a report has a
/// pseudonym of one month there.
const PRIVATE_FIELDS: [&str; 13] = [
    "household_id",
    "enrolment_id",
    "adults",
    "children",
    "composition",
    "band",
    "identity",
    "family_name",
    "first_name",
    "birth_date",
    "phone",
    "has_identity",
    "possible_duplicates",
];

/// Fields whose text opens something, or tells who somebody is.
const SECRET_FIELDS: [&str; 20] = [
    "password",
    "new_password",
    "current_password",
    "access_token",
    "refresh_token",
    "invitation",
    "token",
    "voucher",
    "code",
    "iban",
    "email",
    "secret",
    "otpauth",
    "otpauth_url",
    "uri",
    "url",
    "link",
    "recovery_code",
    "recovery_codes",
    "challenge",
];

/// Ids of what belongs to a household.
const PRIVATE_IDS: [&str; 4] = ["hhd_", "enr_", "alw_", "dup_"];

/// Text shorter than this says nothing about anybody.
const SHORTEST: usize = 4;

/// A name shorter than this stands in the middle of some pseudonym or id by chance: it counts as a word only.
const TELLING: usize = 8;

/// What is secret in one deployment.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Everything that an identity ever held.
    identities: BTreeSet<String>,
    /// What people call a household by.
    references: BTreeSet<String>,
    /// The bytes of the ids of households and of what is theirs.
    ids: HashSet<[u8; 16]>,
    /// Tokens, passwords, codes, addresses.
    secrets: BTreeSet<String>,
    /// How many exchanges of each role were listened to.
    pub judged: BTreeMap<String, usize>,
    /// The operations that each role was answered 2xx.
    pub answered: BTreeSet<(String, String)>,
}

/// By address.
static DEPLOYMENTS: LazyLock<Mutex<BTreeMap<String, Arc<Mutex<Known>>>>> = LazyLock::new(Mutex::default);

/// Learns from an exchange, and panics where it says what it must not.
#[track_caller]
pub fn listen(address: &str, exchange: &Exchange, operation: Option<&str>) {
    let role = role(exchange);
    let complaint = {
        let known = deployment(address);
        let mut known = known.lock().unwrap();
        known.learn(exchange);
        *known.judged.entry(role.clone()).or_default() += 1;
        if let Some(operation) = operation.filter(|_| (200..300).contains(&exchange.status)) {
            known.answered.insert((role.clone(), operation.to_owned()));
        }
        known.judge(&role, exchange)
    };
    if let Err(complaint) = complaint {
        panic!("{} {} told a {role} {complaint}", exchange.method, exchange.path);
    }
}

/// What has been learnt of a deployment so far.
pub fn known(address: &str) -> Known {
    deployment(address).lock().unwrap().clone()
}

/// Another deployment begins at this address.
pub fn forget(address: &str) {
    DEPLOYMENTS.lock().unwrap().remove(address);
}

fn deployment(address: &str) -> Arc<Mutex<Known>> {
    DEPLOYMENTS.lock().unwrap().entry(address.to_owned()).or_default().clone()
}

/// The role that the caller's token names; whether it is good does not matter here.
fn role(exchange: &Exchange) -> String {
    let named = || {
        let (_, token) = exchange.headers.iter().find(|(name, _)| name == "authorization")?;
        let claims = BASE64URL_NOPAD.decode(token.split('.').nth(1)?.as_bytes()).ok()?;
        Some(serde_json::from_slice::<Value>(&claims).ok()?["role"].as_str()?.to_owned())
    };
    named().unwrap_or_else(|| "stranger".to_owned())
}

impl Known {
    pub fn learn(&mut self, exchange: &Exchange) {
        let answer = serde_json::from_slice(exchange.answer).unwrap_or(Value::Null);
        for (said, asked) in [(exchange.body.unwrap_or(&Value::Null), true), (&answer, false)] {
            // what was refused may be nonsense that is no secret to anybody
            let good = (200..300).contains(&exchange.status);
            if !asked || good {
                let identity = exchange.path.ends_with("/identity") || asked && tells_of_somebody(exchange.path);
                self.learn_from(said, good && identity);
            }
        }
        if let Some((_, bearer)) = exchange.headers.iter().find(|(name, _)| name == "authorization") {
            self.keep_secret(bearer.trim_start_matches("Bearer "));
        }
    }

    fn learn_from(&mut self, said: &Value, identity: bool) {
        match said {
            Value::Object(fields) => {
                let household = fields.contains_key("adults");
                for (name, value) in fields {
                    match value.as_str() {
                        Some(text) if identity => drop(self.identities.insert(text.to_owned())),
                        Some(text) if household && name == "reference" => drop(self.references.insert(text.to_owned())),
                        Some(text) if PRIVATE_IDS.iter().any(|prefix| text.starts_with(prefix)) => {
                            self.ids.extend(raw(text));
                        }
                        Some(text) if SECRET_FIELDS.contains(&name.as_str()) => self.keep_secret(text),
                        Some(_) => {}
                        None if SECRET_FIELDS.contains(&name.as_str()) && value.is_array() => {
                            value
                                .as_array()
                                .unwrap()
                                .iter()
                                .filter_map(Value::as_str)
                                .for_each(|text| self.keep_secret(text));
                        }
                        None => self.learn_from(value, identity || name == "identity"),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.learn_from(item, identity)),
            _ => {}
        }
    }

    fn keep_secret(&mut self, text: &str) {
        // problem codes, communes and six digits are said aloud everywhere
        if text.len() >= 12 && !text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            self.secrets.insert(text.to_owned());
            if text.len() == 14 && text.matches('-').count() == 2 {
                self.secrets.insert(text.replace('-', ""));
            }
        }
    }

    /// What an answer to this role must not say, if it says it.
    pub fn judge(&self, role: &str, exchange: &Exchange) -> Result<(), String> {
        if !matches!(role, "producer" | "funder") {
            return Ok(());
        }
        // what somebody says themselves they know already
        let own = Text::of(format!("{} {}", exchange.path, exchange.body.unwrap_or(&Value::Null)).as_bytes());
        if let Ok(answer) = serde_json::from_slice::<Value>(exchange.answer) {
            if let Some(field) = private_field(&answer) {
                return Err(format!("a household's {field}"));
            }
        } else if let Some(field) = private_column(exchange) {
            return Err(format!("a household's {field}, as a column"));
        }
        let headers = exchange.answer_headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
        let said = [exchange.answer, headers.collect::<String>().as_bytes()].join(&b'\n');
        let told = texts(&said).iter().find_map(|text| self.told(text, &own));
        told.map_or(Ok(()), Err)
    }

    /// What a text says of a household, beyond what the listener has said.
    fn told(&self, text: &Text, own: &Text) -> Option<String> {
        let id = || PRIVATE_IDS.iter().flat_map(|prefix| text.ids(prefix)).find(|id| !own.lower.contains(*id));
        let raw = || text.raw_ids.iter().find(|id| self.ids.contains(*id) && !own.raw_ids.contains(*id));
        let names = || self.identities.iter().chain(&self.references).find(|name| text.says(name) && !own.says(name));
        let uuid = |id: &[u8; 16]| format!("the id {}", uuid::Uuid::from_bytes(*id));
        id().map(|id| format!("the id {id}"))
            .or_else(|| raw().map(uuid))
            .or_else(|| names().map(|name| format!("{name:?}")))
    }

    /// What a log must not say, if a line of it does.
    pub fn judge_log(&self, log: &str) -> Result<(), String> {
        for text in texts(log.as_bytes()) {
            let secret = || self.secrets.iter().find(|secret| text.says(secret)).map(|secret| format!("{secret:?}"));
            if let Some(said) = self.told(&text, &Text::default()).or_else(secret) {
                let plain = said.trim_matches('"').trim_start_matches("the id ");
                let line = log.lines().find(|line| line.contains(plain)).unwrap_or("in another form");
                return Err(format!("{said}: {line}"));
            }
        }
        Ok(())
    }

    /// How much is secret here: identities, ids, other secrets.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.identities.len(), self.ids.len(), self.secrets.len())
    }
}

/// Whether what is sent there says who somebody is, in whatever field.
fn tells_of_somebody(path: &str) -> bool {
    path.ends_with("/households/search") || path.contains("/duplicates/")
}

fn private_field(answer: &Value) -> Option<&'static str> {
    match answer {
        Value::Object(fields) => {
            let named = PRIVATE_FIELDS.into_iter().find(|field| fields.contains_key(*field));
            named.or_else(|| fields.values().find_map(private_field))
        }
        Value::Array(items) => items.iter().find_map(private_field),
        _ => None,
    }
}

fn private_column(exchange: &Exchange) -> Option<&'static str> {
    let text = String::from_utf8_lossy(exchange.answer);
    let cells = |line: &str| line.split([',', ';']).map(|cell| cell.trim_matches('"').to_owned()).collect::<Vec<_>>();
    let named = |field: &&str| text.lines().any(|line| cells(line).iter().any(|cell| cell == field));
    PRIVATE_FIELDS.into_iter().find(named)
}

/// Some bytes, made comparable.
#[derive(Default)]
struct Text {
    lower: String,
    /// Without accents, and with a space for what is no letter or digit.
    folded: String,
    /// Without what people put between digits.
    digits: String,
    /// Whatever could be the 16 bytes of an id, as they are or in hexadecimal.
    raw_ids: HashSet<[u8; 16]>,
}

impl Text {
    fn of(bytes: &[u8]) -> Self {
        let lower = String::from_utf8_lossy(bytes).to_lowercase();
        let between = |c: &char| matches!(c, ' ' | '.' | '-' | '(' | ')' | '\u{a0}' | '\u{202f}');
        let digits = lower.chars().filter(|c| !between(c)).collect();
        let joined = lower.replace('-', "");
        let runs = joined.split(|c: char| !c.is_ascii_hexdigit()).filter(|run| run.len() >= 32);
        let hex = runs.flat_map(|run| run.as_bytes().windows(32)).filter_map(|hex| HEXLOWER.decode(hex).ok());
        let raw_ids = hex.filter_map(|raw| raw.try_into().ok()).collect();
        Text { folded: folded(&lower), lower, digits, raw_ids }
    }

    /// What was decoded may hold an id's bytes anywhere.
    fn decoded(bytes: &[u8]) -> Self {
        let mut text = Text::of(bytes);
        text.raw_ids.extend(bytes.windows(16).filter_map(|raw| <[u8; 16]>::try_from(raw).ok()));
        text
    }

    fn says(&self, needle: &str) -> bool {
        if needle.chars().count() < SHORTEST {
            return false;
        }
        if needle.chars().count() < TELLING && needle.chars().all(char::is_alphabetic) {
            return format!(" {} ", self.folded).contains(&format!(" {} ", folded(needle)));
        }
        if self.lower.contains(&needle.to_lowercase()) || dates(needle).iter().any(|date| self.lower.contains(date)) {
            return true;
        }
        // a name without its accents, whatever stands between its words: as it is compared
        let name = folded(needle);
        if needle.chars().any(char::is_alphabetic) && name.len() >= SHORTEST && self.folded.contains(&name) {
            return true;
        }
        // a phone number in another form: the nine digits after its 0 or 33
        let digits: String = needle.chars().filter(char::is_ascii_digit).collect();
        let phone = digits.len() >= 9 && needle.len() < 20 && !needle.chars().any(char::is_alphabetic);
        phone && self.digits.contains(&digits[digits.len() - 9..])
    }

    /// The ids of a kind, known or not.
    fn ids<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let found = self.lower.match_indices(prefix).map(|(at, _)| &self.lower[at..]);
        found.filter_map(|rest| rest.get(..prefix.len() + 26)).filter(|id| raw(id).is_some())
    }
}

/// A name as it is compared: its letters and digits without accents, one space between its words.
fn folded(text: &str) -> String {
    let plain = text.nfkd().filter(|c| !is_combining_mark(*c)).collect::<String>().to_lowercase();
    plain.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The other ways to write a day; none where the text is no day.
fn dates(text: &str) -> Vec<String> {
    let [year, month, day] = text.split('-').collect::<Vec<_>>()[..] else { return Vec::new() };
    if text.parse::<Day>().is_err() {
        return Vec::new();
    }
    let mut written = vec![[year, month, day].join("/")];
    written.extend(["/", ".", "-", " "].map(|between| [day, month, year].join(between)));
    written
}

/// The bytes of an id.
fn raw(id: &str) -> Option<[u8; 16]> {
    let (_, symbols) = id.split_once('_')?;
    BASE32HEX_NOPAD.decode(symbols.to_uppercase().as_bytes()).ok()?.try_into().ok()
}

/// What some bytes say: as they are, unescaped, and decoded, to a depth.
fn texts(bytes: &[u8]) -> Vec<Text> {
    const DEPTH: usize = 3;
    let mut texts = vec![Text::of(bytes)];
    let (mut seen, mut level) = (BTreeSet::new(), bytes.to_vec());
    for _ in 0..DEPTH {
        let fresh: Vec<Vec<u8>> = decoded(&level).into_iter().filter(|view| seen.insert(view.clone())).collect();
        level = fresh.join(&b'\n');
        texts.push(Text::decoded(&level));
    }
    texts
}

fn decoded(bytes: &[u8]) -> BTreeSet<Vec<u8>> {
    /// Shorter ones hide nothing that is looked for.
    const LEAST: usize = 8;
    let mut found = BTreeSet::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(json @ (Value::Object(_) | Value::Array(_) | Value::String(_))) = serde_json::from_slice(line) {
            strings(&json, &mut found);
        }
        if line.contains(&b'%') {
            // an ampersand stands for itself in an answer, not between the parts of a form
            let whole: Vec<u8> = line.iter().map(|byte| if *byte == b'&' { b' ' } else { *byte }).collect();
            let form = [b"x=".as_slice(), &whole].concat();
            found.extend(form_urlencoded::parse(&form).map(|(_, value)| value.into_owned().into_bytes()));
        }
    }
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    let part = |byte: &u8| byte.is_ascii_alphanumeric();
    let runs = bytes.split(|byte| !word(byte)).chain(bytes.split(|byte| !part(byte)));
    let runs: BTreeSet<&[u8]> = runs.filter(|run| run.len() >= LEAST).collect();
    for run in runs {
        let upper = run.to_ascii_uppercase();
        let forms = [(BASE64_NOPAD, run), (BASE64URL_NOPAD, run), (BASE32_NOPAD, &*upper), (BASE32HEX_NOPAD, &*upper)];
        for (encoding, given) in forms {
            // what was cut from a longer text leaves bits over; whole groups are decoded all the same
            let whole = [given.len(), given.len() - given.len() % 4, given.len() - given.len() % 8];
            found.extend(whole.iter().find_map(|end| encoding.decode(&given[..*end]).ok()));
        }
    }
    found.retain(|view| view.len() >= SHORTEST);
    found
}

fn strings(json: &Value, texts: &mut BTreeSet<Vec<u8>>) {
    match json {
        Value::String(text) => drop(texts.insert(text.clone().into_bytes())),
        Value::Array(items) => items.iter().for_each(|item| strings(item, texts)),
        Value::Object(fields) => fields.values().for_each(|value| strings(value, texts)),
        _ => {}
    }
}
