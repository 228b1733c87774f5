//! Where a PostgreSQL server is. The address is taken apart here, strictly, so that libpq never reads a password for a
//! host and repeats it in an error.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// What our connections have unless the address says otherwise: a peer that has vanished is noticed within half a minute.
const DEFAULTS: [(&str, &str); 5] = [
    ("application_name", "primeur"),
    ("keepalives_idle", "10"),
    ("keepalives_interval", "5"),
    ("keepalives_count", "3"),
    ("tcp_user_timeout", "15000"),
];

/// The parameters of a connection, as libpq names them.
#[derive(Clone)]
pub struct Address(Vec<(String, String)>);

fn rest(url: &str) -> Option<&str> {
    url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"))
}

impl Address {
    /// Reads `postgres://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?KEY=VALUE&…`. The error has no part of it.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        const SIGNS: &str = "write / : ? # @ and % in a user, password or database as %2F %3A %3F %23 %40 and %25";
        let rest = rest(url).ok_or("must begin with sqlite:// or postgres://")?;
        let (head, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = head.split_once('/').unwrap_or((head, ""));
        let (login, hosts) = authority.split_once('@').unwrap_or(("", authority));
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'#' | b'@'));
        if ![database, login, hosts].into_iter().all(plain) || rest.contains('#') {
            return Err(SIGNS);
        }
        let mut address = Address(Vec::new());
        let (user, password) = login.split_once(':').map_or((login, None), |(user, secret)| (user, Some(secret)));
        address.add("user", user)?;
        address.add("password", password.unwrap_or(""))?;
        let hosts: Vec<(&str, &str)> = hosts.split(',').map(host_and_port).collect::<Option<_>>().ok_or(SIGNS)?;
        let joined = |part: fn(&(&str, &str)) -> String| hosts.iter().map(part).collect::<Vec<_>>().join(",");
        address.add("host", joined(|(host, _)| (*host).to_owned()).trim_matches(','))?;
        address.add("port", joined(|(_, port)| (*port).to_owned()).trim_matches(','))?;
        address.add("dbname", database)?;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or("what follows the ? must be KEY=VALUE, joined by &")?;
            if !key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
                return Err("what follows the ? must be names of PostgreSQL's connection parameters, with values");
            }
            address.add(key, value)?;
        }
        Ok(address)
    }

    fn add(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        if !value.is_empty() {
            self.0.retain(|(known, _)| known != key);
            self.0.push((key.to_owned(), decode(value).ok_or("% must be followed by two hexadecimal digits")?));
        }
        Ok(())
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Whether nothing leaves this machine: a socket file, or a loopback address.
    fn is_local(&self) -> bool {
        let elsewhere = |name: &&str| std::env::var_os(name).is_some();
        if self.get("service").is_some() || self.get("servicefile").is_some() {
            return false;
        }
        let Some(hosts) = self.get("hostaddr").or_else(|| self.get("host")) else {
            // libpq would ask the environment
            return !["PGHOST", "PGHOSTADDR", "PGSERVICE"].iter().any(elsewhere);
        };
        hosts.split(',').all(|host| {
            host.starts_with('/') || host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        })
    }

    /// Whether whatever leaves this machine is encrypted, to the server that is meant.
    pub fn is_safe(&self) -> bool {
        self.is_local() || self.get("sslmode") == Some("verify-full")
    }

    /// Refuses what could be read or changed on its way, unless that is allowed; and what this build cannot do.
    pub fn check(&self, password_file: bool, allow_plain: bool) -> Result<(), String> {
        let mode = self.get("sslmode");
        if !cfg!(feature = "postgres-tls")
            && mode.is_some_and(|mode| matches!(mode, "require" | "verify-ca" | "verify-full"))
        {
            return Err("asks for TLS, which this build of primeur cannot speak to PostgreSQL: build it with \
                        `cargo build --release --features postgres-tls`"
                .to_owned());
        }
        if !self.is_safe() && !allow_plain {
            return Err(
                "leads over a network without sslmode=verify-full: whoever is in between could read and change \
                        everything. Use TLS (a build with the feature postgres-tls), or, on a network that nobody else \
                        is on, set database.allow_plain = true"
                    .to_owned(),
            );
        }
        if password_file && self.get("password").is_some() {
            return Err("holds a password, and database.password_file names another".to_owned());
        }
        Ok(())
    }

    /// The connection string for libpq, with a password if it comes from elsewhere.
    pub fn conninfo(&self, password: Option<&str>, wait: Duration) -> String {
        let seconds = wait.as_secs().max(2).to_string();
        let defaults = DEFAULTS.into_iter().chain([("connect_timeout", seconds.as_str())]);
        let own = self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let all = defaults.filter(|(key, _)| self.get(key).is_none()).chain(own);
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
        all.chain(password.map(|secret| ("password", secret)))
            .map(|(key, value)| format!("{key}='{}'", quoted(value)))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Reads a password from its file: without the end of the line, which an editor adds.
pub fn read_password(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file)
        .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
        .map_err(|e| format!("cannot read database.password_file {}: {e}", file.display()))
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`; the port may be missing, not wrong.
fn host_and_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, if rest.is_empty() { "" } else { rest.strip_prefix(':')? })
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    port.bytes().all(|b| b.is_ascii_digit()).then_some((host, port))
}

fn decode(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2).filter(|hex| !hex.starts_with('+'))?, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    // a NUL would end the string for libpq
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conninfo(url: &str) -> String {
        let all = Address::parse(url).unwrap_or_else(|e| panic!("{url}: {e}")).conninfo(None, Duration::from_secs(5));
        all.split_once("connect_timeout='5'").unwrap().1.trim().to_owned()
    }

    #[test]
    fn an_address_becomes_the_parameters_that_it_names() {
        for (url, expected) in [
            ("postgres://", ""),
            ("postgres://test@/postgres?host=/tmp/x", "user='test' dbname='postgres' host='/tmp/x'"),
            (
                "postgresql://u:p%40%27%5C@db:5433/primeur",
                r"user='u' password='p@\'\\' host='db' port='5433' dbname='primeur'",
            ),
            ("postgres://u@[::1]:5/d", "user='u' host='::1' port='5' dbname='d'"),
            (
                "postgres://u@a:1,b:2/d?target_session_attrs=read-write",
                "user='u' host='a,b' port='1,2' dbname='d' target_session_attrs='read-write'",
            ),
            ("postgres://u@%2Frun%2Fpg/d", "user='u' host='/run/pg' dbname='d'"),
            ("postgres://u@x/d?host=y&host=z", "user='u' dbname='d' host='z'"),
        ] {
            assert_eq!(conninfo(url), expected, "{url}");
        }
        let named = Address::parse("postgres://u@/d?application_name=caisse").unwrap();
        let all = named.conninfo(Some("se'cret"), Duration::from_millis(1));
        assert!(all.contains("connect_timeout='2'") && all.ends_with(r"password='se\'cret'"), "{all}");
        assert!(all.contains("application_name='caisse'") && !all.contains("primeur"), "{all}");
    }

    #[test]
    fn a_password_with_a_sign_that_parts_an_address_is_refused_and_never_repeated() {
        for url in [
            "postgres://u:hunter/2@db/d",
            "postgres://u:hunter@2@db/d",
            "postgres://u:hunter?2@db/d",
            "postgres://u:hunter#2@db/d",
            "postgres://u:hunter%zz@db/d",
            "postgres://u:hunter%2@db/d",
            "postgres://u:hunter%00@db/d",
            "postgres://u:hunter 2@db/d",
            "postgres://db:hunter/d",
            "postgres://u@[::1/hunter",
            "postgres://u@db/d?Hunter=1",
        ] {
            let error = Address::parse(url).err().unwrap_or_else(|| panic!("{url} was taken"));
            assert!(!error.contains("unter"), "{error}");
        }
    }

    #[test]
    fn what_leaves_this_machine_must_be_under_tls_that_is_checked() {
        let check = |url: &str, allowed| Address::parse(url).unwrap().check(false, allowed);
        for local in [
            "postgres://u@/d?host=/run/postgresql",
            "postgres://u@localhost/d",
            "postgres://u@127.0.0.1,127.3.2.1/d",
            "postgres://u@[::1]/d",
            "postgres://u@db/d?hostaddr=127.0.0.1",
        ] {
            assert_eq!(check(local, false), Ok(()), "{local}");
        }
        for far in [
            "postgres://u@db.primeur.example/d",
            "postgres://u@localhost,db/d",
            "postgres://u@10.0.0.1/d?sslmode=prefer",
            "postgres://u@localhost/d?hostaddr=10.0.0.1",
            "postgres://u@/d?host=db&sslmode=disable",
            "postgres://u@/d?service=far",
        ] {
            assert!(check(far, false).unwrap_err().contains("allow_plain"), "{far}");
            assert_eq!(check(far, true), Ok(()), "{far}");
        }
        let verified = check("postgres://u@db/d?sslmode=verify-full", false);
        let encrypted = check("postgres://u@db/d?sslmode=require", false);
        if cfg!(feature = "postgres-tls") {
            assert_eq!(verified, Ok(()));
            assert!(encrypted.unwrap_err().contains("allow_plain"), "encrypted to whoever answers");
        } else {
            for refused in [verified, encrypted, check("postgres://u@localhost/d?sslmode=verify-ca", true)] {
                assert!(refused.unwrap_err().contains("--features postgres-tls"));
            }
        }
        assert!(Address::parse("postgres://u:p@/d").unwrap().check(true, false).unwrap_err().contains("password_file"));
    }
}
