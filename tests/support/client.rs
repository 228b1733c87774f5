//! A client over real HTTP. Every exchange is held to the contract, and says nothing about households to strangers.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::{Method, Request};

use super::contract::{self, Exchange};
use super::traffic;

#[derive(Clone)]
pub struct Client {
    agent: Agent,
    address: String,
    pub token: Option<String>,
    pub language: Option<&'static str>,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub bytes: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.bytes)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body, if the answer has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.bytes));
        if self.bytes.is_empty() { Value::Null } else { self.json() }
    }

    /// Asserts that the request was refused with a status and a code.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(problem["code"], code, "{problem}");
        problem
    }
}

impl Client {
    pub fn new(address: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .max_idle_connections_per_host(64)
            .build();
        Client { agent: config.into(), address: address.to_owned(), token: None, language: None }
    }

    /// Host and port, for what speaks less than HTTP.
    pub fn socket(&self) -> &str {
        self.address.trim_start_matches("http://")
    }

    pub fn with_token(&self, token: &str) -> Self {
        Client { token: Some(token.to_owned()), ..self.clone() }
    }

    pub fn log_in(&self, email: &str, password: &str) -> Answer {
        self.post("/api/v1/access/login", json!({"email": email, "password": password}))
    }

    /// Whoever has just logged in.
    pub fn signed_in(&self, tokens: &Value) -> Self {
        self.with_token(tokens["access_token"].as_str().unwrap())
    }

    /// The same person at another server.
    pub fn at(&self, address: &str) -> Self {
        Client { address: address.to_owned(), ..self.clone() }
    }

    pub fn speaking(&self, language: Option<&'static str>) -> Self {
        Client { language, ..self.clone() }
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    #[track_caller]
    pub fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.send("GET", path, &[("accept", accept)], None)
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, &[], Some(body))
    }

    /// A POST without a body.
    #[track_caller]
    pub fn act(&self, path: &str) -> Answer {
        self.send("POST", path, &[], None)
    }

    #[track_caller]
    pub fn put(&self, path: &str, body: Value) -> Answer {
        self.send("PUT", path, &[], Some(body))
    }

    /// A PUT without a body.
    #[track_caller]
    pub fn set(&self, path: &str) -> Answer {
        self.send("PUT", path, &[], None)
    }

    /// A POST under a new idempotency key.
    #[track_caller]
    pub fn post_once(&self, path: &str, body: Value) -> Answer {
        self.post_with_key(path, &new_key(), body)
    }

    /// The same without a body.
    #[track_caller]
    pub fn act_once(&self, path: &str) -> Answer {
        self.send("POST", path, &[("idempotency-key", &new_key())], None)
    }

    #[track_caller]
    pub fn post_with_key(&self, path: &str, key: &str, body: Value) -> Answer {
        self.send("POST", path, &[("idempotency-key", key)], Some(body))
    }

    /// Towards a server that may be killed: none where no whole answer came.
    pub fn try_send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Option<Answer> {
        let raw = body.map(|body| serde_json::to_vec(body).unwrap());
        let mut headers = headers.to_vec();
        headers.extend(body.map(|_| ("content-type", "application/json")));
        self.try_send_raw(method, path, &headers, raw.as_deref(), body).ok()
    }

    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let raw = body.as_ref().map(|body| serde_json::to_vec(body).unwrap());
        let mut headers = headers.to_vec();
        if body.is_some() && !headers.iter().any(|(name, _)| *name == "content-type") {
            headers.push(("content-type", "application/json"));
        }
        self.send_raw(method, path, &headers, raw.as_deref(), body.as_ref())
    }

    /// Sends bytes as they are; `meant` is what the contract takes the body for.
    #[track_caller]
    pub fn send_raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
        meant: Option<&Value>,
    ) -> Answer {
        let answer = self.try_send_raw(method, path, headers, body, meant);
        answer.unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    /// Every exchange that got an answer passes here, is held to the contract, and listened to.
    #[track_caller]
    fn try_send_raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
        meant: Option<&Value>,
    ) -> Result<Answer, ureq::Error> {
        let all = self.headers(headers);
        let answer = self.exchange(method, path, &all, body)?;
        protected(&answer);
        let exchange = Exchange {
            method,
            path,
            headers: &all,
            body: meant,
            status: answer.status,
            content_type: answer.header("content-type"),
            answer: &answer.bytes,
            answer_headers: &answer.headers,
        };
        contract::check(&exchange);
        traffic::listen(&self.address, &exchange, contract::operation_at(method, path));
        Ok(answer)
    }

    /// The headers given and the client's own.
    fn headers(&self, given: &[(&str, &str)]) -> Vec<(String, String)> {
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let mut all: Vec<(String, String)> = given.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        all.extend(bearer.map(|bearer| ("authorization".to_owned(), bearer)));
        all.extend(self.language.map(|language| ("accept-language".to_owned(), language.to_owned())));
        all
    }

    fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Option<&[u8]>,
    ) -> Result<Answer, ureq::Error> {
        let mut request =
            Request::builder().method(method.parse::<Method>().unwrap()).uri(format!("{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut response = match body {
            Some(body) => self.agent.run(request.body(body)?)?,
            None => self.agent.run(request.body(())?)?,
        };
        let text = |value: &ureq::http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().iter().map(|(n, v)| (n.as_str().to_owned(), text(v))).collect(),
            bytes: response.body_mut().read_to_vec()?,
        })
    }
}

/// What no answer may be without, and what none may have.
#[track_caller]
fn protected(answer: &Answer) {
    for (name, value) in [
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert!(answer.header("cache-control").is_some());
    let told = |(name, _): &&(String, String)| name.starts_with("access-control-") || name == "server";
    assert_eq!(answer.headers.iter().find(told), None);
}

pub fn new_key() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// The id of what an answer tells of.
#[track_caller]
pub fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap().to_owned()
}
