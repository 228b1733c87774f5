//! The funder's month over HTTP.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::{File, Flavour};
use crate::http::extract::Query;
use crate::http::permission::MayReconcile;
use crate::http::problem::Answer;
use crate::http::stream::{Body, PIECE, Pieces};
use crate::http::{State, negotiate};
use crate::kit::crew;
use crate::kit::error::{Code, Error, Result};
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
    let place = state.streams.enter()?;
    let patience = state.streams.settings.patience;
    let (file, first) = state
        .run(move |state| {
            // before a thread is taken, so that there are no more of them than reports at a time
            let turn = state.db.turn_to_report()?;
            let state = state.clone();
            let draw = move |turn: &_| {
                let room = &state.streams.settings.room;
                let drawn = state.db.read_settled(turn, |conn, now| {
                    super::report(conn, now, &state.keys.now().secret, &permit.actor, agreement, month, room)
                })?;
                let mut file = match format {
                    Format::Json => File::json(drawn),
                    Format::Csv => File::csv(drawn, Flavour::Plain),
                    Format::CsvExcelFrench => File::csv(drawn, Flavour::ExcelFrench),
                };
                let first = Pieces::next(&mut file)?;
                Ok((file, first))
            };
            let drawn = crew::begin(move || (draw(&turn), turn)).map_err(Error::internal)?;
            // the turn ends once the thread is free again
            drawn.end().map_or_else(|_| Err(Error::internal("a report could not be drawn up")), |(drawn, _turn)| drawn)
        })
        .await?;
    let mut answer = HttpResponse::Ok();
    if format == Format::Json {
        answer.insert_header((header::CONTENT_TYPE, JSON));
    } else {
        let name = format!("attachment; filename=\"{agreement}-{month}.csv\"");
        answer.insert_header((header::CONTENT_TYPE, "text/csv; charset=utf-8"));
        answer.insert_header((header::CONTENT_DISPOSITION, name));
    }
    Ok(answer.body(Body::new(file, first, place, &request, patience)))
}

impl Pieces for File {
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        File::next(self, PIECE)
    }
}
