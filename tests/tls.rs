//! PostgreSQL over TLS, with a password: to the server that is meant, or not at all.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::{Client, Cluster, Process};

const SECRET: &str = "un navet n'est pas une poire: @/%";

/// SECRET as an address writes it.
const WRITTEN: &str = "un%20navet%20n'est%20pas%20une%20poire%3A%20%40%2F%25";

fn openssl(directory: &Path, arguments: &str) {
    let run = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output().unwrap();
    assert!(run.status.success(), "{arguments}: {}", String::from_utf8_lossy(&run.stderr));
}

/// A server that takes no login but under TLS and with a password, and whose certificate is for `localhost` alone.
fn cluster() -> Cluster {
    let mut cluster = Cluster::new(|directory| {
        const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        for authority in ["ours", "theirs"] {
            let made =
                format!("req -x509 {KEY} -keyout {authority}.key -out {authority}.crt -subj /CN={authority} -days 2");
            openssl(directory, &made);
        }
        openssl(directory, &format!("req {KEY} -keyout server.key -out server.csr -subj /CN=localhost"));
        std::fs::write(directory.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
        let signed = "x509 -req -in server.csr -CA ours.crt -CAkey ours.key -CAcreateserial -days 2 -extfile names -out server.crt";
        openssl(directory, signed);
        let rules = "local all test trust\nhostssl all primeur 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(directory.join("hba"), rules).unwrap();
        let file = |name: &str| directory.join(name).display().to_string();
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", file("server.crt")),
            format!("ssl_key_file={}", file("server.key")),
            format!("hba_file={}", file("hba")),
        ];
        settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]).collect()
    });
    cluster.run();
    cluster.sql(&format!("CREATE ROLE primeur LOGIN PASSWORD '{}'", SECRET.replace('\'', "''")));
    cluster.sql("CREATE DATABASE primeur OWNER primeur");
    cluster
}

/// A deployment of ours on that server, at an address with such a login, host and options.
fn on(cluster: &Cluster, login: &str, host: &str, options: &str) -> Process {
    let url = format!("postgres://{login}@{host}:{}/primeur?{options}", cluster.port);
    let mut process = Process::new(crate::support::world::directory(), url);
    process.settings.push(("PRIMEUR__DATABASE__WAIT_SECONDS", "1".to_owned()));
    process
}

fn trusting(cluster: &Cluster, authority: &str) -> String {
    format!("sslmode=verify-full&sslrootcert={}/{authority}.crt", cluster.directory.display())
}

#[test]
fn a_server_with_the_right_certificate_and_a_password_from_a_file_is_served_from_under_tls_alone() {
    let cluster = cluster();
    let mut process = on(&cluster, "primeur", "localhost", &trusting(&cluster, "ours"));
    let file: PathBuf = process.directory.join("password");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    process.settings.push(("PRIMEUR__DATABASE__PASSWORD_FILE", file.display().to_string()));
    process.serve();
    let client = Client::new(&process.address);
    assert_eq!(client.get("/health/ready").expect(200), json!({"status": "ok", "database": "postgresql"}));
    // each of our connections is under TLS: one in the clear would divide by zero
    cluster.sql(
        "SELECT 1 / CASE WHEN bool_and(ssl) AND count(*) > 0 THEN 1 ELSE 0 END
         FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'primeur'",
    );
    let verified = process.command(&["verify"]).output().unwrap();
    assert!(String::from_utf8(verified.stdout).unwrap().ends_with("OK\n"));
    // the next connections take the next password
    cluster.sql("ALTER ROLE primeur PASSWORD 'poireaux'");
    std::fs::write(&file, "poireaux").unwrap();
    assert!(process.command(&["verify"]).output().unwrap().status.success());
    process.kill();
    let log = std::fs::read_to_string(process.log()).unwrap();
    assert!(log.contains("serving") && !log.contains("navet") && !log.contains("sslrootcert"), "{log}");
}

#[test]
fn whatever_is_not_the_server_that_is_meant_is_not_talked_to_and_no_error_repeats_the_password() {
    let cluster = cluster();
    let with = format!("primeur:{WRITTEN}");
    let (ours, theirs) = (trusting(&cluster, "ours"), trusting(&cluster, "theirs"));
    let right = on(&cluster, &with, "localhost", &ours);
    assert!(right.command(&["migrate"]).output().unwrap().status.success());
    for (login, host, options, reason) in [
        (&*with, "localhost", &*theirs, "certificate verify failed"),
        (&with, "127.0.0.1", &ours, "does not match host name"),
        ("primeur:navette", "localhost", &ours, "password authentication failed"),
        ("primeur", "localhost", &ours, "no password supplied"),
        (&with, "localhost", "sslmode=disable", "no encryption"),
        (&with, "localhost", "sslmode=verify-full&sslrootcert=/nowhere", "does not exist"),
        (&with, "localhost", "sslmode=verifyfull", "sslmode"),
        (&with, "db.primeur.example", "sslmode=require", "sslmode=verify-full"),
    ] {
        let refused = on(&cluster, login, host, options).command(&["migrate"]).output().unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && said.contains(reason), "{host} {options}: {said}");
        assert!(!said.contains("navet"), "{said}");
    }
}
