//! The tables of who acts, who sells and who is helped.

diesel::table! {
    use crate::db::schema::types::*;

    organisations (id) {
        id -> ty::Id,
        kind -> Text,
        name -> Text,
        created_by -> Nullable<ty::Id>,
        created_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    people (id) {
        id -> ty::Id,
        organisation_id -> ty::Id,
        email -> Text,
        name -> Text,
        lead -> Bool,
        password_hash -> Nullable<Text>,
        invitation_digest -> Nullable<Binary>,
        invitation_expires_at -> Nullable<ty::Instant>,
        created_at -> ty::Instant,
        disabled_at -> Nullable<ty::Instant>,
        totp_sealed -> Nullable<Binary>,
        totp_confirmed_at -> Nullable<ty::Instant>,
        totp_last_step -> Nullable<BigInt>,
        totp_pending_sealed -> Nullable<Binary>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    sessions (id) {
        id -> ty::Id,
        person_id -> ty::Id,
        refresh_digest -> Binary,
        created_at -> ty::Instant,
        expires_at -> ty::Instant,
        ended_at -> Nullable<ty::Instant>,
        second_factor_at -> Nullable<ty::Instant>,
        wrong_codes -> Integer,
        address_digest -> Nullable<Binary>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    recovery_codes (person_id, digest) {
        person_id -> ty::Id,
        digest -> Binary,
        used_at -> Nullable<ty::Instant>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    spent_refresh_tokens (digest) {
        digest -> Binary,
        session_id -> ty::Id,
        spent_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    attempts (kind, subject) {
        kind -> Text,
        subject -> Binary,
        failures -> Integer,
        began_at -> ty::Instant,
        last_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    signing_keys (key_id) {
        key_id -> Text,
        purpose -> Text,
        created_at -> ty::Instant,
        retired_at -> Nullable<ty::Instant>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    audit_entries (sequence) {
        sequence -> BigInt,
        occurred_at -> ty::Instant,
        person_id -> Nullable<ty::Id>,
        organisation_id -> Nullable<ty::Id>,
        action -> Text,
        subject -> Nullable<Text>,
        detail -> Nullable<Text>,
        digest -> Binary,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    idempotency_keys (organisation_id, key) {
        organisation_id -> ty::Id,
        key -> Text,
        request_digest -> Binary,
        answer -> Nullable<Text>,
        created_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    producers (id) {
        id -> ty::Id,
        siret -> Text,
        iban -> Text,
        account_holder -> Text,
        updated_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    stalls (id) {
        id -> ty::Id,
        producer_id -> ty::Id,
        name -> Text,
        commune_code -> Text,
        commune_name -> Text,
        open -> Bool,
        created_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    applications (programme_id, producer_id) {
        programme_id -> ty::Id,
        producer_id -> ty::Id,
        state -> Text,
        applied_at -> ty::Instant,
        decided_at -> Nullable<ty::Instant>,
        decided_by -> Nullable<ty::Id>,
        class -> Text,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    households (id) {
        id -> ty::Id,
        organisation_id -> ty::Id,
        reference -> Text,
        adults -> Integer,
        children -> Integer,
        commune_code -> Text,
        created_at -> ty::Instant,
        contacted_at -> ty::Instant,
        erased_at -> Nullable<ty::Instant>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    sealed_identities (household_id) {
        household_id -> ty::Id,
        key_id -> Text,
        sealed -> Binary,
        updated_at -> ty::Instant,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    household_fingerprints (household_id, kind) {
        household_id -> ty::Id,
        kind -> Text,
        digest -> Binary,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    household_duplicates (id) {
        id -> ty::Id,
        first_household -> ty::Id,
        second_household -> ty::Id,
        found_at -> ty::Instant,
        dismissed_at -> Nullable<ty::Instant>,
        dismissed_by -> Nullable<ty::Id>,
        reason_sealed -> Nullable<Binary>,
    }
}

diesel::table! {
    use crate::db::schema::types::*;

    clock (id) {
        id -> Integer,
        reached -> ty::Instant,
    }
}
