//! Around every request: its id, its line in the log, the headers that protect, and problems in the caller's language.

use std::time::Instant as Stopwatch;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpRequest, web};
use uuid::Uuid;

use super::guard::Guard;
use super::problem::{Language, Problem, render};
use super::{State, connection};
use crate::kit::error::{Code, Error};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// For `App::wrap(middleware::from_fn(observe))`, outermost.
///
/// The log line has the route's template and never the path or the query: those may carry ids and tokens.
pub async fn observe(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let started = Stopwatch::now();
    let request_id = request_id(text(req.headers(), &REQUEST_ID));
    let language = Language::preferred(text(req.headers(), &header::ACCEPT_LANGUAGE));

    let protected = Protection::of(req.request());
    let metrics = req.app_data::<web::Data<State>>().map(|state| state.metrics.clone());
    let _in_flight = metrics.as_ref().map(|metrics| metrics.begin());

    // handlers' errors arrive as responses; an `Err` would come from another middleware, and there is none inside
    connection::at_work(req.request(), true);
    let admitted = Guard::of(req.request()).map_or(Ok(()), |guard| guard.admit(&req));
    let response = match admitted {
        Ok(()) => next.call(req).await?.map_into_boxed_body(),
        Err(error) => req.error_response(Problem(error)),
    };
    let error = error_of(&response);
    let mut response = match &error {
        Some(error) => rendered(response, error, language),
        None => response,
    };
    connection::at_work(response.request(), false);
    protected.write(response.headers_mut(), &request_id);

    if let Some(Error::Duplicate(cause) | Error::Retry(cause) | Error::Unavailable(cause) | Error::Internal(cause)) =
        &error
    {
        tracing::error!(request_id, cause, "failed");
    }
    let (route, code) = (response.request().match_pattern(), error.as_ref().map(Error::code));
    if let Some(metrics) = metrics {
        let (method, status) = (response.request().method(), response.status().as_u16());
        metrics.answered(method, route.as_deref(), status, started.elapsed(), code);
    }
    tracing::info!(
        method = response.request().method().as_str(),
        route = route.as_deref().unwrap_or("-"),
        status = response.status().as_u16(),
        ms = started.elapsed().as_millis() as u64,
        request_id,
        code = code.map(|code| code.as_str()),
        "answered",
    );
    Ok(response)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The caller's own id if it is harmless in a log, else a new one.
fn request_id(incoming: Option<&str>) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    match incoming {
        Some(id) if (1..=64).contains(&id.len()) && id.bytes().all(plain) => id.to_owned(),
        _ => Uuid::now_v7().to_string(),
    }
}

/// What went wrong in a response, whether a handler or actix itself said so.
fn error_of(response: &ServiceResponse) -> Option<Error> {
    if let Some(Problem(error)) = response.response().error().and_then(|error| error.as_error()) {
        return Some(error.clone());
    }
    let status = response.status();
    match status {
        StatusCode::NOT_FOUND => Some(Error::Refused(Code::NotFound)),
        StatusCode::METHOD_NOT_ALLOWED => Some(Error::Refused(Code::MethodNotAllowed)),
        StatusCode::NOT_ACCEPTABLE => Some(Error::Refused(Code::NotAcceptable)),
        StatusCode::PAYLOAD_TOO_LARGE => Some(Error::Refused(Code::PayloadTooLarge)),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Some(Error::Refused(Code::UnsupportedMediaType)),
        _ if status.is_client_error() => Some(Error::Refused(Code::InvalidRequest)),
        _ if status.is_server_error() => Some(Error::Internal(format!("a plain answer of status {status}"))),
        _ => None,
    }
}

fn rendered(response: ServiceResponse, error: &Error, language: Language) -> ServiceResponse {
    let allow = response.headers().get(header::ALLOW).cloned();
    let mut problem = render(error, language);
    if let Some(allow) = allow {
        problem.headers_mut().insert(header::ALLOW, allow);
    }
    response.into_response(problem)
}

/// The headers that every answer has: nothing of it is to be run, framed, stored or sniffed by a browser.
const PROTECTION: [(HeaderName, HeaderValue); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    // for browsers that do not know frame-ancestors
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
    (header::PERMISSIONS_POLICY, HeaderValue::from_static("camera=(), geolocation=(), microphone=()")),
];

struct Protection {
    /// That people reach the service by HTTPS: browsers shall not try anything else for two years.
    https: bool,
}

impl Protection {
    fn of(request: &HttpRequest) -> Self {
        let state = request.app_data::<web::Data<State>>();
        Protection { https: state.is_some_and(|state| state.origin.starts_with("https://")) }
    }

    fn write(&self, headers: &mut HeaderMap, request_id: &str) {
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert(REQUEST_ID, id);
        }
        for (name, value) in PROTECTION {
            headers.insert(name, value);
        }
        if self.https {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=63072000"));
        }
        if !headers.contains_key(header::CACHE_CONTROL) {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
    use actix_web::{App, HttpResponse};
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_request_id_of_the_caller_is_kept_only_if_it_is_harmless() {
        assert_eq!(request_id(Some("till-7.2026_1")), "till-7.2026_1");
        for bad in [None, Some(""), Some("two words"), Some("a\"b"), Some(&*"x".repeat(65))] {
            assert_eq!(request_id(bad).len(), 36, "{bad:?}");
        }
    }

    #[actix_web::test]
    async fn every_answer_is_protected_and_every_error_is_a_problem() {
        let app = init_service(
            App::new()
                .wrap(from_fn(observe))
                .service(web::resource("/fine").route(web::get().to(HttpResponse::Ok)))
                .route(
                    "/late",
                    web::get().to(|| async { Err::<HttpResponse, _>(Problem(Error::Refused(Code::VoidWindowOver))) }),
                )
                .route(
                    "/lost",
                    web::get().to(|| async { Err::<HttpResponse, _>(Problem(Error::Internal("cause".to_owned()))) }),
                )
                .route("/plain", web::get().to(HttpResponse::ImATeapot)),
        )
        .await;

        let fine = TestRequest::get().uri("/fine").insert_header(("x-request-id", "mine")).to_request();
        let fine = call_service(&app, fine).await;
        for (name, value) in [
            ("x-request-id", "mine"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("x-frame-options", "DENY"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(fine.headers().get(name).unwrap(), value);
        }

        for (method, path, status, code) in [
            ("GET", "/late", 409, "void_window_over"),
            ("GET", "/lost", 500, "internal"),
            ("GET", "/nowhere", 404, "not_found"),
            ("POST", "/fine", 405, "method_not_allowed"),
            ("GET", "/plain", 422, "invalid_request"),
        ] {
            let request = TestRequest::with_uri(path).method(method.parse().unwrap()).to_request();
            let answer = call_service(&app, request).await;
            assert_eq!(answer.status().as_u16(), status, "{path}");
            assert_eq!(answer.headers().get("content-type").unwrap(), "application/problem+json");
            assert_eq!(answer.headers().contains_key("allow"), status == 405);
            assert!(answer.headers().contains_key("x-request-id"));
            let body: Value = read_body_json(answer).await;
            assert_eq!((&body["code"], &body["status"]), (&code.into(), &status.into()));
        }
    }
}
