//! The funder's month over HTTP.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::{Flavour, Report, csv};
use crate::http::extract::Query;
use crate::http::permission::MayReconcile;
use crate::http::problem::Answer;
use crate::http::{State, negotiate, ok};
use crate::kit::error::{Code, Error};
use crate::kit::id::AgreementId;
use crate::kit::time::Month;

crate::text_enum! {
    pub enum Format {
        Json = "json",
        Csv = "csv",
        CsvExcelFrench = "csv-excel-fr",
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReconciliationQuery {
    format: Option<Format>,
}

const JSON: &str = "application/json";
const CSV: &str = "text/csv";
const CSV_EXCEL_FRENCH: &str = "text/csv; profile=excel-fr";

pub async fn get_reconciliation(
    state: web::Data<State>,
    permit: MayReconcile,
    path: web::Path<(String, String)>,
    query: Query<ReconciliationQuery>,
    request: HttpRequest,
) -> Answer {
    let format = match query.0.format {
        Some(format) => format,
        None => match negotiate::accepted(&request, &[JSON, CSV, CSV_EXCEL_FRENCH])? {
            CSV => Format::Csv,
            CSV_EXCEL_FRENCH => Format::CsvExcelFrench,
            _ => Format::Json,
        },
    };
    let (agreement, month) = path.into_inner();
    let agreement: AgreementId = agreement.parse().map_err(|_| Error::Refused(Code::NotFound))?;
    let month: Month = month.parse().map_err(|complaint| Error::invalid("month", complaint))?;
    let report = state
        .run(move |state| {
            state.db.read_settled(|conn, now| {
                super::report(conn, now, &state.keys.now().secret, &permit.actor, agreement, month)
            })
        })
        .await?;
    Ok(match format {
        Format::Json => ok(&report),
        Format::Csv => download(&report, Flavour::Plain),
        Format::CsvExcelFrench => download(&report, Flavour::ExcelFrench),
    })
}

fn download(report: &Report, flavour: Flavour) -> HttpResponse {
    let name = format!("attachment; filename=\"{}-{}.csv\"", report.agreement.id, report.month);
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/csv; charset=utf-8"))
        .insert_header((header::CONTENT_DISPOSITION, name))
        .body(csv::write(report, flavour))
}
