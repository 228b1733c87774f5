pub fn run(_c: crate::config::Config, _f: bool, _p: u16, _s: bool) -> Result<(), String> {
    Ok(())
}
