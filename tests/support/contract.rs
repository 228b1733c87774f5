//! Holds every exchange of the suite against `openapi.yaml`, so that neither the code nor the contract can drift.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::{Registry, Validator};
use serde_json::{Value, json};

pub struct Exchange<'a> {
    pub method: &'a str,
    /// With its query.
    pub path: &'a str,
    /// Request headers, names in lower case.
    pub headers: &'a [(String, String)],
    pub body: Option<&'a Value>,
    pub status: u16,
    pub content_type: Option<&'a str>,
    pub answer: &'a [u8],
    pub answer_headers: &'a [(String, String)],
}

#[derive(Clone, Debug)]
pub struct Operation {
    pub method: String,
    /// The template, as in `/api/v1/programmes/{id}`.
    pub path: String,
    pub id: String,
    pub roles: Vec<String>,
    pub lead: bool,
    pub public: bool,
    pub body_example: Option<Value>,
    pub needs_key: bool,
}

/// Panics with a clear message where the exchange breaks the contract.
#[track_caller]
pub fn check(exchange: &Exchange) {
    if let Err(complaint) = judge(exchange) {
        let Exchange { method, path, status, .. } = exchange;
        let sent = exchange.body.unwrap_or(&Value::Null);
        let answer = String::from_utf8_lossy(&exchange.answer[..exchange.answer.len().min(4000)]);
        panic!("{method} {path} answered {status} and broke the contract: {complaint}\nsent: {sent}\nanswer: {answer}");
    }
}

pub fn operations() -> Vec<Operation> {
    OPERATIONS.clone()
}

/// Whether the contract allows this body.
pub fn accepts(operation: &Operation, body: &Value) -> bool {
    let place = format!("{}/requestBody", place(&operation.path, &operation.method));
    let (place, _) = at(&place).expect("the operation takes a body");
    validate(&format!("{place}/content/application~1json/schema"), body).is_ok()
}

/// The names of the parameters that a query may have.
pub fn queries(operation: &Operation) -> Vec<String> {
    let all = parameters(&operation.path, &place(&operation.path, &operation.method));
    let queries = all.into_iter().filter(|(_, parameter)| parameter["in"] == "query");
    queries.map(|(_, parameter)| parameter["name"].as_str().unwrap().to_owned()).collect()
}

/// The id of the operation at an address, its query left out.
pub fn operation_at(method: &str, path: &str) -> Option<&'static str> {
    find(method, path.split('?').next().unwrap_or_default()).map(|operation| operation.id.as_str())
}

/// The ids of the operations that `check` has seen answered 2xx, in this process.
pub fn answered() -> BTreeSet<String> {
    ANSWERED.lock().unwrap().clone()
}

/// Any absolute URI does: it only gives the contract's own `$ref`s something to resolve against.
const ADDRESS: &str = "https://primeur.example/openapi";

// Read at run time: a word changed in the contract need not rebuild the suite.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
});
static REGISTRY: LazyLock<Registry> =
    LazyLock::new(|| Registry::new().add(ADDRESS, &*DOCUMENT).unwrap().prepare().unwrap());
static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| {
    let paths = &DOCUMENT["paths"];
    let methods = |path| keys(&paths[path]).filter(|key| *key != "parameters");
    keys(paths).flat_map(|path| methods(path).map(move |method| operation(path, method))).collect()
});
// By place in the document, so that each schema is compiled once.
static VALIDATORS: Mutex<BTreeMap<String, Arc<Validator>>> = Mutex::new(BTreeMap::new());
static ANSWERED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn operation(path: &str, method: &str) -> Operation {
    let found = &DOCUMENT["paths"][path][method];
    let parameters = parameters(path, &place(path, method));
    Operation {
        method: method.to_uppercase(),
        path: path.to_owned(),
        id: found["operationId"].as_str().unwrap().to_owned(),
        roles: entries(&found["x-roles"]).map(|role| role.as_str().unwrap().to_owned()).collect(),
        lead: found["x-lead"] == true,
        public: found["security"] == json!([]),
        body_example: found["requestBody"]["content"]["application/json"].get("example").cloned(),
        needs_key: parameters.iter().any(|(_, parameter)| parameter["name"] == "Idempotency-Key"),
    }
}

fn judge(exchange: &Exchange) -> Result<(), String> {
    let path = exchange.path.split('?').next().unwrap_or_default();
    let Some(operation) = find(exchange.method, path) else {
        return match exchange.status {
            404 => judge_answer("/components/responses/NotFound", exchange),
            405 => judge_answer("/components/responses/MethodNotAllowed", exchange),
            429 => judge_answer("/components/responses/TooManyRequests", exchange),
            431 => judge_answer("/components/responses/HeadersTooLarge", exchange),
            _ => Err("no operation has this address and method: expected 404 or 405".to_owned()),
        };
    };
    let place = place(&operation.path, &operation.method);
    judge_answer(&format!("{place}/responses/{}", exchange.status), exchange)?;
    if (200..300).contains(&exchange.status) {
        // What the code accepts the contract must allow, or it is stricter than the code.
        judge_request(operation, &place, exchange)?;
        ANSWERED.lock().unwrap().insert(operation.id.clone());
    }
    Ok(())
}

/// A literal segment wins over a parameter, as the specification wants it.
fn find(method: &str, path: &str) -> Option<&'static Operation> {
    let fitting = || OPERATIONS.iter().filter(|operation| fits(&operation.path, path));
    let template = fitting().map(|operation| &operation.path).min_by_key(|path| path.matches('{').count())?;
    fitting().find(|operation| &operation.path == template && operation.method == method)
}

fn fits(template: &str, path: &str) -> bool {
    let fits = |(name, given): (&str, &str)| name == given || (name.starts_with('{') && !given.is_empty());
    template.split('/').count() == path.split('/').count() && template.split('/').zip(path.split('/')).all(fits)
}

fn judge_answer(response: &str, exchange: &Exchange) -> Result<(), String> {
    let (place, response) = at(response).ok_or("this status is not documented")?;
    for name in keys(&response["headers"]) {
        let (header_place, header) = at(&format!("{place}/headers/{name}")).unwrap();
        match value_of(exchange.answer_headers, name) {
            Some(value) => validate(&format!("{header_place}/schema"), &json!(value))
                .map_err(|complaint| format!("answer header {name}: {complaint}"))?,
            None if header["required"] == true => return Err(format!("the answer lacks its header {name}")),
            None => {}
        }
    }
    let Some(content) = response.get("content") else {
        return if exchange.answer.is_empty() { Ok(()) } else { Err("the answer should be empty".to_owned()) };
    };
    let sent = exchange.content_type.unwrap_or("(none)");
    let essence = sent.split(';').next().unwrap_or_default().trim().to_lowercase();
    if content.get(&essence).is_none() {
        let documented: Vec<&str> = keys(content).collect();
        return Err(format!("content type {sent} is not one of: {}", documented.join(", ")));
    }
    if !essence.ends_with("json") {
        return Ok(());
    }
    let answer = serde_json::from_slice(exchange.answer).map_err(|error| format!("the answer is not JSON: {error}"))?;
    validate(&format!("{place}/content/{}/schema", escape(&essence)), &answer)
        .map_err(|complaint| format!("answer: {complaint}"))
}

fn judge_request(operation: &Operation, place: &str, exchange: &Exchange) -> Result<(), String> {
    if !operation.public && value_of(exchange.headers, "authorization").is_none() {
        return Err("it was answered without an access token".to_owned());
    }
    let (path, query) = exchange.path.split_once('?').unwrap_or((exchange.path, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let segments = operation.path.split('/').zip(path.split('/'));
    let segments = segments.filter_map(|(name, value)| Some((name.strip_prefix('{')?.strip_suffix('}')?, value)));
    let mut given: Vec<(&str, String, String)> = Vec::new();
    given.extend(pairs.map(|(name, value)| ("query", decode(name), decode(value))));
    given.extend(segments.map(|(name, value)| ("path", name.to_owned(), decode(value))));
    given.extend(exchange.headers.iter().map(|(name, value)| ("header", name.clone(), value.clone())));

    for (place, parameter) in parameters(&operation.path, place) {
        let (kind, name) = (parameter["in"].as_str().unwrap(), parameter["name"].as_str().unwrap());
        let wanted = if kind == "header" { name.to_lowercase() } else { name.to_owned() };
        let schema = format!("{place}/schema");
        let mut missing = parameter["required"] == true;
        for (_, _, value) in given.extract_if(.., |(place, name, _)| *place == kind && *name == wanted) {
            missing = false;
            validate(&schema, &typed(&schema, &value))
                .map_err(|complaint| format!("accepted {kind} parameter {name}: {complaint}"))?;
        }
        if missing {
            return Err(format!("it was answered without its {kind} parameter {name}"));
        }
    }
    // Any client may send further headers; a further query parameter is a mistake.
    if let Some((_, name, _)) = given.iter().find(|(kind, _, _)| *kind == "query") {
        return Err(format!("accepted query parameter {name} is not documented"));
    }

    match (at(&format!("{place}/requestBody")), exchange.body) {
        (None, Some(_)) => Err("the operation takes no body, and one was accepted".to_owned()),
        (Some((_, body)), None) if body["required"] == true => Err("it was answered without its body".to_owned()),
        (_, None) => Ok(()),
        (Some((place, _)), Some(body)) => validate(&format!("{place}/content/application~1json/schema"), body)
            .map_err(|complaint| format!("accepted body: {complaint}")),
    }
}

/// The parameters of the path and the operation's own.
fn parameters(path: &str, operation: &str) -> Vec<(String, &'static Value)> {
    let owners = [format!("/paths/{}", escape(path)), operation.to_owned()];
    let lists = owners.iter().filter_map(|owner| at(&format!("{owner}/parameters")));
    let places =
        lists.flat_map(|(list, found)| (0..entries(found).count()).map(move |index| format!("{list}/{index}")));
    places.filter_map(|place| at(&place)).collect()
}

/// What stands at a place of the document, and where it really stands, references followed.
fn at(place: &str) -> Option<(String, &'static Value)> {
    let found = DOCUMENT.pointer(place)?;
    match found["$ref"].as_str() {
        Some(target) => at(target.strip_prefix('#')?),
        None => Some((place.to_owned(), found)),
    }
}

/// Parameters arrive as text; those that the contract calls integers are compared as such.
fn typed(schema: &str, text: &str) -> Value {
    let integer = at(schema).is_some_and(|(_, schema)| schema["type"] == "integer");
    text.parse::<i64>().ok().filter(|_| integer).map_or_else(|| json!(text), Value::from)
}

fn validate(schema: &str, value: &Value) -> Result<(), String> {
    let compiled =
        VALIDATORS.lock().unwrap().entry(schema.to_owned()).or_insert_with(|| Arc::new(compile(schema))).clone();
    let complaints = compiled.iter_errors(value).map(|error| format!("{error} (at \"{}\")", error.instance_path()));
    let complaints = complaints.collect::<Vec<_>>().join("; ");
    if complaints.is_empty() { Ok(()) } else { Err(complaints) }
}

fn compile(schema: &str) -> Validator {
    // Braces of a path template may not stand in a URI as they are.
    let fragment = schema.replace('{', "%7B").replace('}', "%7D");
    let built =
        jsonschema::options().with_registry(&REGISTRY).build(&json!({ "$ref": format!("{ADDRESS}#{fragment}") }));
    built.unwrap_or_else(|error| panic!("the schema at {schema} does not compile: {error}"))
}

fn place(path: &str, method: &str) -> String {
    format!("/paths/{}/{}", escape(path), method.to_lowercase())
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn value_of<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn keys(object: &Value) -> impl Iterator<Item = &str> {
    object.as_object().into_iter().flat_map(|object| object.keys().map(String::as_str))
}

fn entries(array: &Value) -> impl Iterator<Item = &Value> {
    array.as_array().into_iter().flatten()
}

fn decode(text: &str) -> String {
    let text = text.replace('+', " ");
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        decoded.push(u8::from_str_radix(hex, 16).unwrap_or(b'%'));
        decoded.extend(rest.bytes());
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// A good exchange, to be spoiled in one place at a time.
struct Sample {
    method: &'static str,
    path: &'static str,
    headers: Vec<(String, String)>,
    body: Option<Value>,
    status: u16,
    content_type: &'static str,
    answer: Value,
    answer_headers: Vec<(String, String)>,
}

fn spoiled(spoil: impl FnOnce(&mut Sample)) -> Result<(), String> {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut sample = Sample {
        method: "POST",
        path: "/api/v1/redemptions",
        headers: vec![pair("authorization", "Bearer a.b.c"), pair("idempotency-key", "marche-0001")],
        body: operations()
            .into_iter()
            .find(|operation| operation.id == "redeem")
            .and_then(|redeem| redeem.body_example),
        status: 201,
        content_type: "application/json; charset=utf-8",
        answer: DOCUMENT["components"]["schemas"]["Redemption"]["examples"][0].clone(),
        answer_headers: vec![pair("X-Request-Id", "7f3a")],
    };
    spoil(&mut sample);
    judge(&Exchange {
        method: sample.method,
        path: sample.path,
        headers: &sample.headers,
        body: sample.body.as_ref(),
        status: sample.status,
        content_type: Some(sample.content_type),
        answer: &serde_json::to_vec(&sample.answer).unwrap(),
        answer_headers: &sample.answer_headers,
    })
}

fn problem(sample: &mut Sample, status: u16, code: &str) {
    let name = format!("https://primeur.example/problems/{code}");
    (sample.status, sample.content_type) = (status, "application/problem+json");
    sample.answer = json!({ "type": name, "title": "-", "status": status, "code": code, "detail": "-" });
}

#[track_caller]
fn refused(complaint: &str, spoil: impl FnOnce(&mut Sample)) {
    let found = spoiled(spoil).expect_err("the checker let it pass");
    assert!(found.contains(complaint), "expected {complaint:?} in {found:?}");
}

#[test]
fn a_good_exchange_passes() {
    spoiled(|_| {}).unwrap();
    assert!(answered().contains("redeem"));
}

#[test]
fn an_answer_that_breaks_the_contract_is_refused() {
    refused("not documented", |sample| sample.status = 418);
    refused("balance", |sample| sample.answer["balance"] = json!("12.00"));
    refused("\"covered\" is a required", |sample| drop(sample.answer.as_object_mut().unwrap().remove("covered")));
    refused("does not match", |sample| sample.answer["covered"] = json!("23.4"));
    refused("content type", |sample| sample.content_type = "text/html");
    refused("X-Request-Id", |sample| sample.answer_headers.clear());
    refused("Idempotent-Replay", |sample| sample.answer_headers.push(("Idempotent-Replay".into(), "yes".into())));
    spoiled(|sample| problem(sample, 409, "voucher_blocked")).unwrap();
    refused("\"email_taken\" is not one of", |sample| problem(sample, 409, "email_taken"));
}

#[test]
fn a_request_that_the_contract_forbids_may_not_succeed() {
    refused("access token", |sample| drop(sample.headers.remove(0)));
    refused("Idempotency-Key", |sample| drop(sample.headers.remove(1)));
    refused("Idempotency-Key", |sample| sample.headers[1].1 = "court".into());
    refused("query parameter dry_run", |sample| sample.path = "/api/v1/redemptions?dry_run=true");
    refused("accepted body", |sample| sample.body.as_mut().unwrap()["basket"] = json!("0.00"));
    refused("accepted body", |sample| sample.body.as_mut().unwrap()["tip"] = json!("1.00"));
    refused("without its body", |sample| sample.body = None);
    let page = |sample: &mut Sample, path| {
        (sample.method, sample.path, sample.status, sample.body) = ("GET", path, 200, None);
        sample.answer = json!({ "items": [], "next_cursor": null });
    };
    spoiled(|sample| page(sample, "/api/v1/redemptions?limit=200&from=2026%2D05%2D01")).unwrap();
    refused("query parameter limit", |sample| page(sample, "/api/v1/redemptions?limit=201"));
    refused("query parameter from", |sample| page(sample, "/api/v1/redemptions?from=hier"));
}

#[test]
fn an_address_without_operation_answers_404_or_405_only() {
    let elsewhere = |sample: &mut Sample, status, code| {
        sample.path = "/api/v1/elsewhere";
        problem(sample, status, code);
    };
    spoiled(|sample| elsewhere(sample, 404, "not_found")).unwrap();
    spoiled(|sample| elsewhere(sample, 405, "method_not_allowed")).unwrap();
    refused("was expected", |sample| elsewhere(sample, 404, "method_not_allowed"));
    refused("no operation", |sample| elsewhere(sample, 403, "forbidden"));
    refused("no operation", |sample| sample.method = "DELETE");
}

#[test]
fn a_literal_segment_wins_over_a_parameter() {
    let id = |method, path| find(method, path).map(|operation| operation.id.as_str());
    assert_eq!(id("PUT", "/api/v1/producers/me"), Some("set_producer_details"));
    assert_eq!(id("GET", "/api/v1/producers/org_1"), Some("show_producer"));
    assert_eq!(id("GET", "/api/v1/producers/me"), None);
    assert_eq!(id("GET", "/api/v1/producers/"), None);
}

#[test]
fn the_contract_is_whole() {
    const ROLES: [&str; 6] = ["administrator", "manager", "social_worker", "producer", "funder", "evaluator"];
    let mut ids = BTreeSet::new();
    for operation in operations() {
        assert!(ids.insert(operation.id.clone()), "{operation:?}: this id is taken");
        assert_eq!(operation.public, operation.roles.is_empty(), "{operation:?}: either public or for some roles");
        assert!(operation.roles.iter().all(|role| ROLES.contains(&role.as_str())), "{operation:?}: unknown role");
        assert!(!(operation.public && (operation.lead || operation.needs_key)), "{operation:?}");
        let place = place(&operation.path, &operation.method);
        let answers = |status: u16| at(&format!("{place}/responses/{status}")).is_some();
        assert!(answers(431) && (answers(429) || operation.path.starts_with("/health/")), "{operation:?}");
        if at(&format!("{place}/requestBody")).is_some() {
            assert!(answers(408) && answers(413), "{operation:?}");
            let body = operation.body_example.as_ref().unwrap_or_else(|| panic!("{}: no example", operation.id));
            validate(&format!("{place}/requestBody/content/application~1json/schema"), body).unwrap();
        }
    }
    let schemas = &DOCUMENT["components"]["schemas"];
    for name in keys(schemas) {
        for example in entries(&schemas[name]["examples"]) {
            validate(&format!("/components/schemas/{name}"), example).unwrap_or_else(|why| panic!("{name}: {why}"));
        }
    }
}
