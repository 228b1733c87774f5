//! QR codes, at error correction M: a folded card still reads.

use qrcode::render::{svg, unicode};
use qrcode::{EcLevel, QrCode};

use crate::kit::error::{Error, Result};

/// Pixels a module, each way.
const MODULE: u32 = 8;
/// Light modules around the code, as the standard asks.
const QUIET: usize = 4;

fn code(text: &str) -> Result<QrCode> {
    QrCode::with_error_correction_level(text, EcLevel::M).map_err(Error::internal)
}

/// An SVG of its own, black on white.
pub fn svg(text: &str) -> Result<String> {
    Ok(code(text)?.render::<svg::Color>().module_dimensions(MODULE, MODULE).build())
}

/// A PNG in black and white, one bit a pixel.
pub fn png(text: &str) -> Result<Vec<u8>> {
    let code = code(text)?;
    let modules = code.width() + 2 * QUIET;
    // a module is 8 pixels wide: one byte of the row, all light or all dark
    const LIGHT: u8 = 0xff;
    let mut pixels = Vec::with_capacity(modules * modules * MODULE as usize);
    let mut draw = |row: &[u8]| (0..MODULE).for_each(|_| pixels.extend_from_slice(row));
    let quiet = vec![LIGHT; modules];
    (0..QUIET).for_each(|_| draw(&quiet));
    for line in code.to_colors().chunks(code.width()) {
        let mut row = quiet.clone();
        for (pixel, color) in row[QUIET..].iter_mut().zip(line) {
            *pixel = color.select(0, LIGHT);
        }
        draw(&row);
    }
    (0..QUIET).for_each(|_| draw(&quiet));

    let side = u32::try_from(modules).map_err(Error::internal)? * MODULE;
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().map_err(Error::internal)?;
    writer.write_image_data(&pixels).map_err(Error::internal)?;
    writer.finish().map_err(Error::internal)?;
    Ok(file)
}

/// Lines of half blocks for a terminal that writes light on dark: what is dark in the code stays unwritten.
pub fn terminal(text: &str) -> Result<String> {
    let code = code(text)?;
    let (dark, light) = (unicode::Dense1x2::Light, unicode::Dense1x2::Dark);
    Ok(code.render::<unicode::Dense1x2>().dark_color(dark).light_color(light).build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voucher::token::tests::{HOST, KEYS, token};

    fn text() -> String {
        token().encode(&KEYS.voucher, HOST)
    }

    /// What a camera reads in a picture of the luminances given.
    fn read(width: usize, height: usize, luma: impl FnMut(usize, usize) -> u8) -> String {
        let mut picture = rqrr::PreparedImage::prepare_from_greyscale(width, height, luma);
        let grids = picture.detect_grids();
        assert_eq!(grids.len(), 1);
        grids[0].decode().unwrap().1
    }

    #[test]
    fn the_picture_reads_back() {
        let file = png(&text()).unwrap();
        let mut decoder = png::Decoder::new(std::io::Cursor::new(&file));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let (width, height) = (info.width as usize, info.height as usize);
        assert_eq!((info.color_type, pixels.len()), (png::ColorType::Grayscale, width * height));
        assert!(pixels[..width * QUIET * 8].iter().all(|luma| *luma == 255), "the margin is light");
        assert_eq!(read(width, height, |x, y| pixels[y * width + x]), text());
    }

    #[test]
    fn the_terminal_reads_back() {
        let drawn = terminal(&text()).unwrap();
        let rows: Vec<Vec<char>> = drawn.lines().map(|line| line.chars().collect()).collect();
        // each module drawn as 4 by 4 pixels, for the reader's sake
        let luma = |x: usize, y: usize| {
            let (top, bottom) = match rows[y / 8][x / 4] {
                '█' => (255, 255),
                '▀' => (255, 0),
                '▄' => (0, 255),
                _ => (0, 0),
            };
            if (y / 4).is_multiple_of(2) { top } else { bottom }
        };
        assert_eq!(read(rows[0].len() * 4, rows.len() * 8, luma), text());
    }

    #[test]
    fn a_token_stays_small_enough_for_a_card() {
        // in byte mode these lengths would need version 10 and more
        for (host, most) in [(HOST, 7), ("primeur.une-communaute-de-communes.exemple.fr", 8)] {
            let url = token().encode(&KEYS.voucher, host);
            let qrcode::Version::Normal(version) = code(&url).unwrap().version() else { panic!("a micro QR") };
            assert!(version <= most, "{version} for {} characters", url.len());
        }
        assert!(svg(&text()).unwrap().ends_with("</svg>"));
    }
}
