//! Errors as people and programs read them: RFC 9457 problem+json with a stable code, in French or English.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;

use super::sentences::sentence;
use crate::kit::error::{Code, Error, FieldError};
use crate::kit::id::HouseholdId;
use crate::kit::money::Cents;

/// The error type of every handler. The middleware renders it, once it knows the caller's language.
#[derive(Debug)]
pub struct Problem(pub Error);

/// What every handler and extractor gives.
pub type Answer<T = HttpResponse> = std::result::Result<T, Problem>;

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Problem(error)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        status(self.0.code())
    }

    /// Without a body: a response does not know the request's language. The middleware finds the error in it.
    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}

/// The language of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    French,
    English,
}

impl Language {
    /// By `Accept-Language` (RFC 9110 12.5.4): the preferred of the two, French when nothing decides.
    pub fn preferred(accept_language: Option<&str>) -> Self {
        let header = accept_language.unwrap_or("");
        let mut best = (Language::French, 0.0);
        for range in header.split(',') {
            let (tag, weight) = range.split_once(";").unwrap_or((range, "q=1"));
            let primary = tag.trim().split('-').next().unwrap_or("").to_ascii_lowercase();
            let weight = weight.trim().strip_prefix("q=").and_then(|q| q.parse().ok()).unwrap_or(0.0_f32);
            let language = match primary.as_str() {
                "fr" => Language::French,
                "en" => Language::English,
                _ => continue,
            };
            if weight > best.1 {
                best = (language, weight);
            }
        }
        best.0
    }

    /// The language that a request asks for.
    pub fn of(request: &HttpRequest) -> Self {
        Self::preferred(request.headers().get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()))
    }

    /// The one that is in it, of two that say the same in French and in English.
    fn of_two<T>(self, [french, english]: [T; 2]) -> T {
        match self {
            Language::French => french,
            Language::English => english,
        }
    }

    fn tag(self) -> &'static str {
        match self {
            Language::French => "fr",
            Language::English => "en",
        }
    }
}

/// Title and detail of a code, for people.
pub fn text(code: Code, language: Language) -> (&'static str, &'static str) {
    language.of_two(sentence(code))
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: Code,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Vec<Field<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spendable: Option<Cents>,
    #[serde(skip_serializing_if = "Option::is_none")]
    household_id: Option<Option<HouseholdId>>,
}

#[derive(Serialize)]
struct Field<'a> {
    field: &'a str,
    message: String,
}

/// The whole answer for an error. Causes of our own are not in it: they are for the log.
pub fn render(error: &Error, language: Language) -> HttpResponse {
    let code = error.code();
    let status = status(code);
    let (title, detail) = text(code, language);
    let fields = match error {
        Error::Invalid(fields) => {
            let said = |wrong: &FieldError| language.of_two(wrong.complaint.sentences());
            Some(fields.iter().map(|wrong| Field { field: &wrong.field, message: said(wrong) }).collect())
        }
        _ => None,
    };
    let spendable = match error {
        Error::Insufficient { spendable } => *spendable,
        _ => None,
    };
    let household_id = match error {
        Error::KnownHousehold { own } => Some(*own),
        _ => None,
    };
    let kind = format!("https://primeur.example/problems/{code}");
    let mut answer = HttpResponse::build(status);
    answer.insert_header((header::CONTENT_LANGUAGE, language.tag()));
    if status == StatusCode::UNAUTHORIZED {
        answer.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
    }
    if status == StatusCode::REQUEST_TIMEOUT {
        // what still comes of the request is nobody's any more
        answer.force_close();
    }
    match error {
        Error::Wait { seconds, .. } => drop(answer.insert_header((header::RETRY_AFTER, *seconds))),
        Error::Unavailable(_) => drop(answer.insert_header((header::RETRY_AFTER, "1"))),
        _ => {}
    }
    let body = Body { r#type: kind, title, status: status.as_u16(), code, detail, fields, spendable, household_id };
    // `json` keeps a content type that is already there
    answer.content_type("application/problem+json").json(body)
}

/// The HTTP status of a code: 409 unless it is about the request itself, or about who asks.
pub fn status(code: Code) -> StatusCode {
    match code {
        Code::MalformedJson | Code::InvalidCursor | Code::IdempotencyKeyRequired => StatusCode::BAD_REQUEST,
        Code::Unauthenticated
        | Code::InvalidCredentials
        | Code::InvalidRefreshToken
        | Code::InvalidInvitation
        | Code::SecondFactorRequired => StatusCode::UNAUTHORIZED,
        Code::Forbidden | Code::SecondFactorMissing => StatusCode::FORBIDDEN,
        Code::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Code::TooManyRequests | Code::TooManyAttempts => StatusCode::TOO_MANY_REQUESTS,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        Code::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::InvalidRequest => StatusCode::UNPROCESSABLE_ENTITY,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::CONFLICT,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::kit::complaint::Complaint;

    fn rendered(error: &Error, language: Language) -> (HttpResponse<()>, Value) {
        let (answer, body) = render(error, language).into_parts();
        let bytes = actix_web::rt::System::new().block_on(to_bytes(body)).unwrap();
        (answer, serde_json::from_slice(&bytes).unwrap())
    }

    #[test]
    fn every_code_speaks_both_languages() {
        for code in Code::ALL {
            let [french, english] = sentence(*code);
            for (title, detail) in [french, english] {
                assert!(!title.is_empty() && !title.ends_with('.'), "{code}: {title}");
                assert!(detail.ends_with('.') && detail.len() > 10, "{code}: {detail}");
            }
            assert_ne!(french, english, "{code}");
        }
    }

    #[test]
    fn what_a_till_shows_says_nothing_of_the_household() {
        let at_the_till = [
            Code::UnknownVoucher,
            Code::VoucherBlocked,
            Code::VoucherReplaced,
            Code::VoucherUsed,
            Code::VoucherSuspended,
            Code::VoucherExpired,
            Code::NotStarted,
            Code::InsufficientBalance,
        ];
        for code in at_the_till {
            for (title, detail) in sentence(code) {
                let words = format!("{title} {detail}").to_lowercase();
                for word in ["ménage", "household", "famille", "family", "aide sociale", "social"] {
                    assert!(!words.contains(word), "{code}: {words}");
                }
            }
        }
    }

    #[test]
    fn the_preferred_language_decides_and_french_is_the_default() {
        use Language::{English, French};
        for (header, language) in [
            (None, French),
            (Some(""), French),
            (Some("*"), French),
            (Some("de-DE,de;q=0.9"), French),
            (Some("en"), English),
            (Some("en-GB,en;q=0.9,fr;q=0.8"), English),
            (Some("fr;q=0.5, en;q=0.7"), English),
            (Some("fr-CA, en"), French),
            (Some("en;q=0, fr;q=0.1"), French),
            (Some("en;q=zero"), French),
        ] {
            assert_eq!(Language::preferred(header), language, "{header:?}");
        }
    }

    #[test]
    fn a_problem_has_its_code_and_fields_and_never_an_inner_cause() {
        let wrong = Error::invalid("rules.period.count", Complaint::NotBetween { least: 1, most: 36 });
        let (_, body) = rendered(&wrong, Language::French);
        assert_eq!(body["fields"][0]["message"], "doit être un nombre de 1 à 36");
        let (answer, body) = rendered(&wrong, Language::English);
        assert_eq!(answer.headers().get("content-type").unwrap(), "application/problem+json");
        assert_eq!(body["status"], 422);
        assert_eq!(body["type"], "https://primeur.example/problems/invalid_request");
        assert_eq!(body["fields"], json!([{"field": "rules.period.count", "message": "must be 1 to 36"}]));
        assert!(body.get("spendable").is_none());

        let (_, body) = rendered(&Error::Insufficient { spendable: Some(Cents(750)) }, Language::French);
        assert_eq!((&body["status"], &body["spendable"]), (&json!(409), &json!("7.50")));

        for error in [Error::Internal("cause".to_owned()), Error::Duplicate("cause".to_owned())] {
            let (_, body) = rendered(&error, Language::English);
            assert_eq!(body["code"], "internal");
            assert!(!body.to_string().contains("cause"));
        }
        let (answer, _) = rendered(&Error::Unavailable("cause".to_owned()), Language::English);
        assert_eq!(answer.headers().get("retry-after").unwrap(), "1");
        let wait = Error::Wait { code: Code::TooManyAttempts, seconds: 7 };
        let (answer, body) = rendered(&wait, Language::English);
        assert_eq!((&body["status"], &body["code"]), (&json!(429), &json!("too_many_attempts")));
        assert_eq!(answer.headers().get("retry-after").unwrap(), "7");
        let (answer, _) = rendered(&Error::Refused(Code::Unauthenticated), Language::English);
        assert_eq!(answer.headers().get("www-authenticate").unwrap(), "Bearer");
    }
}
