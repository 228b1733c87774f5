//! The report as it is sent, piece by piece: JSON, or CSV in one of two flavours. Whichever it is, it ends with the
//! SHA-256 of the plain CSV up to its last line.

use data_encoding::HEXLOWER;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Drawn;
use super::csv::{Flavour, Sheet};
use super::lines::{Line, no_room};
use crate::kit::error::{Error, Result};
use crate::kit::money::Cents;
use crate::kit::time::Day;
use crate::ledger::TransferCode;

/// One line as JSON has it.
#[derive(Serialize)]
struct LineBody<'a> {
    /// The same for a purchase and its void, within the month.
    line: String,
    kind: TransferCode,
    day: Day,
    household: String,
    producer: &'a str,
    covered: Cents,
    part: Cents,
}

/// The report's parts, in order.
enum Stage {
    Head,
    Lines { first: bool },
    End,
    Sent,
}

/// What is sent; the plain table is written in any case, for its digest.
enum Form {
    Plain,
    French(Box<Sheet>),
    Json(Vec<u8>),
}

pub struct File {
    drawn: Drawn,
    plain: Sheet,
    digest: Sha256,
    form: Form,
    stage: Stage,
}

impl File {
    pub fn csv(drawn: Drawn, flavour: Flavour) -> Self {
        let form = match flavour {
            Flavour::Plain => Form::Plain,
            Flavour::ExcelFrench => Form::French(Box::new(Sheet::new(flavour, &drawn.names))),
        };
        Self::new(drawn, form)
    }

    pub fn json(drawn: Drawn) -> Self {
        Self::new(drawn, Form::Json(Vec::new()))
    }

    fn new(drawn: Drawn, form: Form) -> Self {
        let plain = Sheet::new(Flavour::Plain, &drawn.names);
        File { drawn, plain, digest: Sha256::new(), form, stage: Stage::Head }
    }

    /// The next piece, a little longer than `size` unless it is the last; none after that.
    pub fn next(&mut self, size: usize) -> Result<Option<Vec<u8>>> {
        loop {
            match self.stage {
                Stage::Head => {
                    self.head()?;
                    self.stage = Stage::Lines { first: true };
                }
                Stage::Lines { first } => match self.drawn.lines.read().map_err(no_room)? {
                    Some(line) => {
                        self.line(&line, first)?;
                        self.stage = Stage::Lines { first: false };
                        if self.written() >= size {
                            return Ok(Some(self.take()));
                        }
                    }
                    None => self.stage = Stage::End,
                },
                Stage::End => {
                    self.stage = Stage::Sent;
                    return self.end().map(Some);
                }
                Stage::Sent => return Ok(None),
            }
        }
    }

    fn head(&mut self) -> Result<()> {
        self.plain.head(&self.drawn.report);
        match &mut self.form {
            Form::Plain => {}
            Form::French(sheet) => sheet.head(&self.drawn.report),
            Form::Json(text) => {
                serde_json::to_writer(&mut *text, &self.drawn.report).map_err(Error::internal)?;
                // the lines and what follows them are within the object
                text.pop();
                text.extend_from_slice(b",\"lines\":[");
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &Line, first: bool) -> Result<()> {
        self.plain.line(line);
        match &mut self.form {
            Form::Plain => {}
            Form::French(sheet) => sheet.line(line),
            Form::Json(text) => {
                let body = LineBody {
                    line: format!("L-{}", line.line.as_str()),
                    kind: line.kind,
                    day: line.day,
                    household: format!("M-{}", line.household.as_str()),
                    producer: &self.drawn.names[line.seller as usize],
                    covered: line.covered,
                    part: line.part,
                };
                text.extend_from_slice(if first { b"" } else { b"," });
                serde_json::to_writer(text, &body).map_err(Error::internal)?;
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<Vec<u8>> {
        self.plain.controls(&self.drawn.control);
        let mut piece = self.take();
        let control = &self.drawn.control;
        let digest = HEXLOWER.encode(&self.digest.finalize_reset());
        match &mut self.form {
            Form::Plain => {
                self.plain.digest(&digest);
                piece.append(&mut self.plain.take());
            }
            Form::French(sheet) => {
                sheet.controls(control);
                sheet.digest(&digest);
                piece.append(&mut sheet.take());
            }
            Form::Json(text) => {
                text.extend_from_slice(b"],\"control\":");
                serde_json::to_writer(&mut *text, control).map_err(Error::internal)?;
                text.extend_from_slice(format!(",\"sha256\":\"{digest}\"}}").as_bytes());
                piece.append(text);
            }
        }
        Ok(piece)
    }

    /// What is written so far and not yet sent.
    fn take(&mut self) -> Vec<u8> {
        let plain = self.plain.take();
        self.digest.update(&plain);
        match &mut self.form {
            Form::Plain => plain,
            Form::French(sheet) => sheet.take(),
            Form::Json(text) => std::mem::take(text),
        }
    }

    /// How long that is.
    fn written(&self) -> usize {
        match &self.form {
            Form::Plain => self.plain.written(),
            Form::French(sheet) => sheet.written(),
            Form::Json(text) => text.len(),
        }
    }
}
