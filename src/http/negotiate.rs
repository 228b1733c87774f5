//! Choosing among the formats that an answer has (RFC 9110 12.5.1).

use actix_web::HttpRequest;
use actix_web::http::header;

use crate::kit::error::{Code, Error, Result};

/// The offered format that the caller likes best; the first where it does not say, `not_acceptable` where it wants none.
pub fn accepted(request: &HttpRequest, offered: &[&'static str]) -> Result<&'static str> {
    let headers = request.headers().get_all(header::ACCEPT).filter_map(|value| value.to_str().ok());
    choose(&headers.collect::<Vec<_>>().join(","), offered).ok_or(Error::Refused(Code::NotAcceptable))
}

fn choose(accept: &str, offered: &[&'static str]) -> Option<&'static str> {
    if accept.trim().is_empty() {
        return offered.first().copied();
    }
    let mut ranges: Vec<(String, u32)> = accept.split(',').map(range).filter(|(_, quality)| *quality > 0).collect();
    ranges.sort_by_key(|(_, quality)| std::cmp::Reverse(*quality));
    ranges.iter().find_map(|(range, _)| offered.iter().find(|format| matches(range, format)).copied())
}

/// A media range without its quality and charset, and its quality in thousandths.
fn range(text: &str) -> (String, u32) {
    let mut quality = 1000;
    let mut kept = Vec::new();
    for part in text.split(';').map(|part| part.trim().to_ascii_lowercase()) {
        match part.split_once('=') {
            Some(("q", value)) => quality = value.parse::<f32>().map_or(0, |q| (q.clamp(0.0, 1.0) * 1000.0) as u32),
            Some(("charset", _)) => {}
            _ => kept.push(part.replace('"', "")),
        }
    }
    (kept.join("; "), quality)
}

fn matches(range: &str, format: &str) -> bool {
    let family = |range: &str| range.strip_suffix("/*").is_some_and(|family| format.starts_with(&format!("{family}/")));
    range == "*/*" || range == format || family(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERED: [&str; 3] = ["application/json", "text/csv", "text/csv; profile=excel-fr"];

    #[test]
    fn the_format_that_is_liked_best_is_sent() {
        for (accept, chosen) in [
            ("", Some("application/json")),
            ("*/*", Some("application/json")),
            ("text/csv", Some("text/csv")),
            ("text/csv;profile=\"excel-fr\"", Some("text/csv; profile=excel-fr")),
            ("text/csv; charset=utf-8", Some("text/csv")),
            ("text/*", Some("text/csv")),
            ("application/json;q=0.1, text/csv;q=0.9", Some("text/csv")),
            ("text/html, application/xhtml+xml, */*;q=0.8", Some("application/json")),
            ("application/pdf", None),
            ("text/csv;q=0", None),
        ] {
            assert_eq!(choose(accept, &OFFERED), chosen, "{accept}");
        }
    }
}
