//! What each code says to a person: what happened, and what to do about it.
//!
//! At a till, what the seller can say or do without shaming anybody; never a household's matters.

use crate::kit::error::Code;

/// Title and detail.
type Text = (&'static str, &'static str);

/// In French and in English.
pub(super) fn sentence(code: Code) -> [Text; 2] {
    match code {
        Code::MalformedJson => [
            ("JSON illisible", "Le corps de la requête n’est pas du JSON valide, ou une clé y figure deux fois."),
            ("Unreadable JSON", "The body of the request is not valid JSON, or has a key twice."),
        ],
        Code::InvalidRequest => [
            ("Demande à corriger", "Certains champs ne conviennent pas : ils sont nommés dans « fields »."),
            ("Request to be corrected", "Some fields are wrong: they are named in “fields”."),
        ],
        Code::InvalidCursor => [
            ("Curseur inconnu", "Ce curseur ne vient pas d’une liste de ce service. Reprenez la liste au début."),
            ("Unknown cursor", "This cursor does not come from a list of this service. Start the list again."),
        ],
        Code::IdempotencyKeyRequired => [
            (
                "Clé d’idempotence attendue",
                "Cette opération demande un en-tête Idempotency-Key de 8 à 64 lettres, chiffres, tirets ou traits bas.",
            ),
            (
                "Idempotency key expected",
                "This operation needs an Idempotency-Key header of 8 to 64 letters, digits, hyphens or underscores.",
            ),
        ],
        Code::IdempotencyConflict => [
            (
                "Clé déjà utilisée",
                "Cette clé d’idempotence a déjà servi à une autre demande. Prenez-en une nouvelle pour celle-ci.",
            ),
            ("Key already used", "This idempotency key was used for another request. Use a new one for this."),
        ],
        Code::PayloadTooLarge => [
            ("Requête trop longue", "Le corps de la requête dépasse la taille admise, 64 Kio."),
            ("Request too long", "The body of the request is longer than the 64 KiB that are accepted."),
        ],
        Code::HeadersTooLarge => [
            (
                "En-têtes trop longs",
                "L’adresse et les en-têtes de la requête dépassent ensemble la taille admise, 8 Kio.",
            ),
            (
                "Headers too long",
                "The request’s address and headers are together longer than the 8 KiB that are accepted.",
            ),
        ],
        Code::RequestTimeout => [
            (
                "Requête trop lente",
                "La requête n’est pas arrivée entière à temps. Vérifiez la connexion et recommencez.",
            ),
            ("Request too slow", "The request did not arrive whole in time. Check the connection and try again."),
        ],
        Code::TooManyRequests => [
            (
                "Trop de demandes",
                "Beaucoup de demandes sont arrivées d’un coup. Réessayez dans un instant (Retry-After).",
            ),
            ("Too many requests", "Many requests came at once. Try again in a moment (Retry-After)."),
        ],
        Code::UnsupportedMediaType => [
            ("Format non pris en charge", "Le corps de la requête doit être du JSON : Content-Type: application/json."),
            ("Unsupported format", "The body of the request must be JSON: Content-Type: application/json."),
        ],
        Code::NotAcceptable => [
            ("Format non disponible", "Cette ressource n’existe dans aucun des formats demandés par l’en-tête Accept."),
            ("Format not available", "This resource exists in none of the formats that the Accept header asks for."),
        ],
        Code::MethodNotAllowed => [
            ("Méthode non admise", "Cette adresse n’accepte pas cette méthode. L’en-tête Allow dit lesquelles."),
            ("Method not allowed", "This address does not take this method. The Allow header says which it takes."),
        ],
        Code::NotFound => [
            ("Introuvable", "Rien ne se trouve ici, ou rien que vous puissiez consulter. Vérifiez l’identifiant."),
            ("Not found", "There is nothing here, or nothing that you may see. Check the identifier."),
        ],
        Code::Internal => [
            (
                "Erreur du service",
                "Une erreur est survenue de notre côté. Réessayez, puis signalez-nous l’identifiant X-Request-Id.",
            ),
            ("Error of the service", "Something went wrong on our side. Try again, then tell us the X-Request-Id."),
        ],
        Code::Unavailable => [
            ("Service momentanément indisponible", "Le service est très sollicité. Réessayez dans un instant."),
            ("Service unavailable for a moment", "The service is very busy. Try again in a moment."),
        ],
        Code::Unauthenticated => [
            ("Connexion nécessaire", "Vous n’êtes pas connecté, ou votre session est terminée. Connectez-vous."),
            ("Sign in first", "You are not signed in, or your session has ended. Sign in."),
        ],
        Code::InvalidCredentials => [
            ("Connexion refusée", "L’adresse, le mot de passe ou le code ne convient pas. Vérifiez-les et réessayez."),
            ("Sign-in refused", "The address, the password or the code is not right. Check them and try again."),
        ],
        Code::InvalidRefreshToken => [
            ("Session terminée", "Cette session ne peut plus être prolongée. Connectez-vous à nouveau."),
            ("Session over", "This session cannot be renewed any more. Sign in again."),
        ],
        Code::InvalidInvitation => [
            (
                "Invitation non valable",
                "Cette invitation a déjà servi ou n’est plus valable. Demandez-en une nouvelle.",
            ),
            ("Invitation not valid", "This invitation was used already or is not valid any more. Ask for a new one."),
        ],
        Code::Forbidden => [
            ("Action non autorisée", "Votre rôle ne permet pas cette action. Une personne responsable peut la faire."),
            ("Not allowed", "Your role does not allow this action. A person in charge can do it."),
        ],
        Code::EmailTaken => [
            ("Adresse déjà utilisée", "Une personne utilise déjà cette adresse électronique. Donnez-en une autre."),
            ("Address already used", "Somebody already uses this e-mail address. Give another one."),
        ],
        Code::TooManyAttempts => [
            (
                "Trop d’essais",
                "Plusieurs essais ont échoué. Attendez le temps indiqué (Retry-After), puis recommencez.",
            ),
            ("Too many attempts", "Several attempts have failed. Wait as long as Retry-After says, then try again."),
        ],
        Code::SecondFactorRequired => [
            (
                "Code attendu",
                "Ce compte demande aussi le code à six chiffres de votre application, ou un code de secours.",
            ),
            ("Code expected", "This account also needs the six-digit code of your app, or a recovery code."),
        ],
        Code::SecondFactorMissing => [
            (
                "Double authentification à activer",
                "Votre rôle demande un second facteur. Activez-le, puis reprenez ce que vous faisiez.",
            ),
            ("Second factor to be set up", "Your role needs a second factor. Set it up, then go on with what you did."),
        ],
        Code::WrongCode => [
            (
                "Code non valable",
                "Ce code ne convient pas ou a déjà servi. Attendez le suivant, ou donnez un code de secours.",
            ),
            (
                "Code not valid",
                "This code is not right or was used already. Wait for the next, or give a recovery code.",
            ),
        ],
        Code::PersonState => [
            ("Compte dans un autre état", "Ce compte n’est pas dans l’état que demande cette opération."),
            ("Account in another state", "This account is not in the state that this operation needs."),
        ],
        Code::ProgrammeNotDraft => [
            ("Programme déjà ouvert", "Ce programme n’est plus un brouillon : ses règles ne changent plus."),
            ("Programme already opened", "This programme is not a draft any more: its rules no longer change."),
        ],
        Code::ProgrammeNotOpen => [
            ("Programme non ouvert", "Cette opération demande un programme ouvert, et celui-ci ne l’est pas."),
            ("Programme not open", "This operation needs an open programme, and this one is not."),
        ],
        Code::ProgrammeClosed => [
            ("Programme clos", "Ce programme est clos : aucune convention ne peut s’y ajouter."),
            ("Programme closed", "This programme is closed: no agreement can be added to it."),
        ],
        Code::LegalBasisRequired => [
            ("Base légale attendue", "Indiquez la base légale du programme avant de l’ouvrir."),
            ("Legal basis expected", "Give the programme’s legal basis before opening it."),
        ],
        Code::AgreementRequired => [
            ("Convention attendue", "Un programme s’ouvre avec au moins une convention de financement."),
            ("Agreement expected", "A programme opens with at least one funding agreement."),
        ],
        Code::ReferenceTaken => [
            (
                "Référence déjà utilisée",
                "Une convention de ce programme porte déjà cette référence. Donnez-en une autre.",
            ),
            ("Reference already used", "An agreement of this programme has this reference already. Give another one."),
        ],
        Code::SiretTaken => [
            ("SIRET déjà enregistré", "Un autre producteur a déjà ce numéro SIRET. Vérifiez-le, ou contactez-nous."),
            ("SIRET already registered", "Another producer has this SIRET number already. Check it, or contact us."),
        ],
        Code::ProducerIncomplete => [
            ("Dossier incomplet", "Indiquez votre SIRET et votre IBAN avant de poser votre candidature."),
            ("Details missing", "Give your SIRET and your IBAN before you apply."),
        ],
        Code::ApplicationState => [
            ("Décision impossible", "La candidature n’est pas dans un état qui permet cette décision. Rechargez-la."),
            ("Decision not possible", "The application is not in a state that allows this decision. Reload it."),
        ],
        Code::OutsideTerritory => [
            ("Hors du territoire", "La commune de résidence n’est pas dans le territoire de ce programme."),
            ("Outside the territory", "The commune of residence is not in this programme’s territory."),
        ],
        Code::DuplicateHousehold => [
            (
                "Ménage déjà connu",
                "Une personne de mêmes nom, prénom et date de naissance est déjà connue. Si ce n’est pas de vous, voyez avec le porteur du programme.",
            ),
            (
                "Household already known",
                "Somebody of the same name and date of birth is known already. If not to you, ask the programme’s manager.",
            ),
        ],
        Code::DuplicateState => [
            ("Doublon déjà écarté", "Ce doublon possible a déjà été écarté."),
            ("Duplicate already dismissed", "This possible duplicate has been dismissed already."),
        ],
        Code::StillEnrolled => [
            (
                "Inscription en cours",
                "Ce ménage est encore inscrit, ou son chèque n’est pas vide. Faites-le d’abord sortir, en rendant le reste.",
            ),
            (
                "Still enrolled",
                "This household is still enrolled, or has money left. Let it leave first, and give back what is left.",
            ),
        ],
        Code::IdentityUnreadable => [
            (
                "Identité illisible",
                "Cette identité ne peut plus être lue. Saisissez-la à nouveau, et prévenez l’administrateur.",
            ),
            (
                "Unreadable identity",
                "This identity cannot be read any more. Enter it again, and tell the administrator.",
            ),
        ],
        Code::AlreadyEnrolled => [
            ("Déjà inscrit", "Ce ménage est déjà inscrit à ce programme. Reprenez l’inscription existante."),
            ("Already enrolled", "This household is enrolled in this programme already. Use that enrolment."),
        ],
        Code::ProgrammeEndsFirst => [
            (
                "Programme trop court",
                "Les périodes ne tiennent pas toutes dans le programme. Choisissez une date de début antérieure.",
            ),
            ("Programme ends first", "The periods do not all fit into the programme. Choose an earlier day to start."),
        ],
        Code::StartInPast => [
            ("Date passée", "Une inscription ne commence pas dans le passé. Choisissez aujourd’hui ou plus tard."),
            ("Day in the past", "An enrolment does not start in the past. Choose today or later."),
        ],
        Code::EnrolmentState => [
            ("Inscription dans un autre état", "L’état de l’inscription ne permet pas cette opération. Rechargez-la."),
            ("Enrolment in another state", "The enrolment’s state does not allow this operation. Reload it."),
        ],
        Code::NoContribution => [
            ("Pas de cotisation", "Les règles de cette inscription ne prévoient pas de cotisation du ménage."),
            ("No contribution", "The rules of this enrolment foresee no contribution of the household."),
        ],
        Code::ContributionTooLate => [
            ("Cotisation trop tardive", "La dernière période de cette inscription est passée."),
            ("Contribution too late", "The last period of this enrolment is over."),
        ],
        Code::StillWaiting => [
            (
                "Toujours en attente",
                "Cette cotisation ne ferait pas entrer le ménage, qui est en liste d’attente : ne l’encaissez pas.",
            ),
            (
                "Still waiting",
                "This contribution would not let the household in, which is on the waiting list: do not take it.",
            ),
        ],
        Code::VoucherExists => [
            ("Chèque déjà remis", "Cette inscription a déjà un chèque. S’il est perdu ou abîmé, remplacez-le."),
            ("Voucher already made", "This enrolment has a voucher already. If it is lost or damaged, replace it."),
        ],
        Code::VoucherState => [
            ("Chèque dans un autre état", "L’état du chèque ne permet pas cette opération. Rechargez-le."),
            ("Voucher in another state", "The voucher’s state does not allow this operation. Reload it."),
        ],
        Code::UnknownVoucher => [
            ("Chèque non reconnu", "Scannez à nouveau, ou tapez le code imprimé sous le QR."),
            ("Voucher not recognised", "Scan it again, or type the code printed below the QR."),
        ],
        Code::VoucherBlocked => [
            ("Chèque en pause", "Ce chèque ne peut pas servir aujourd’hui. La structure qui l’a remis peut aider."),
            ("Voucher on hold", "This voucher cannot be used today. Those who handed it over can help."),
        ],
        Code::VoucherReplaced => [
            ("Chèque remplacé", "Un nouveau chèque a pris la suite de celui-ci. Demandez si la personne l’a sur elle."),
            ("Voucher replaced", "A new voucher has taken over from this one. Ask whether the person has it here."),
        ],
        Code::VoucherUsed => [
            (
                "Titre déjà utilisé",
                "Ce titre sert une seule fois, et il a déjà servi. Un autre titre ou la carte peut régler cet achat.",
            ),
            (
                "Voucher used before",
                "This voucher is good once, and was used before. Another one or the card can pay for this.",
            ),
        ],
        Code::VoucherSuspended => [
            ("Chèque en pause", "Ce chèque ne peut pas servir pour le moment. La structure qui l’a remis peut aider."),
            ("Voucher on hold", "This voucher cannot be used for now. Those who handed it over can help."),
        ],
        Code::VoucherExpired => [
            (
                "Chèque arrivé à son terme",
                "La période de ce chèque est finie. La structure qui l’a remis peut renseigner.",
            ),
            ("Voucher past its period", "This voucher’s period is over. Those who handed it over can tell more."),
        ],
        Code::NotStarted => [
            ("Chèque pas encore valable", "Ce chèque ne sert pas encore : sa date de début n’est pas arrivée."),
            ("Voucher not valid yet", "This voucher cannot be used yet: its first day has not come."),
        ],
        Code::InsufficientBalance => [
            (
                "Montant non couvert",
                "Le chèque ne peut pas régler ce montant aujourd’hui. Proposez d’en régler une part, ou un autre moyen.",
            ),
            (
                "Amount not covered",
                "The voucher cannot pay this amount today. Offer to pay a part of it, or another way to pay.",
            ),
        ],
        Code::ProducerNotApproved => [
            (
                "Pas encore de chèques ici",
                "Vous n’êtes pas encore agréé pour ce programme. Demandez l’agrément à son porteur.",
            ),
            ("No vouchers here yet", "You are not approved for this programme yet. Ask its manager for approval."),
        ],
        Code::ProducerSuspended => [
            ("Agrément suspendu", "Votre agrément pour ce programme est suspendu. Contactez le porteur du programme."),
            ("Approval suspended", "Your approval for this programme is suspended. Contact its manager."),
        ],
        Code::StallClosed => [
            ("Point de vente fermé", "Ce point de vente est fermé dans le service. Choisissez-en un autre."),
            ("Stall closed", "This stall is closed in the service. Choose another one."),
        ],
        Code::ProducerNotEligible => [
            (
                "À dépenser ailleurs",
                "Ce chèque sert chez d’autres producteurs. La structure qui l’a remis peut dire lesquels.",
            ),
            ("For other stalls", "This voucher is for other producers. Those who handed it over can tell which."),
        ],
        Code::TooSoon => [
            ("Chèque en pause", "Ce chèque ne peut pas servir aujourd’hui. La structure qui l’a remis peut aider."),
            ("Voucher on hold", "This voucher cannot be used today. Those who handed it over can help."),
        ],
        Code::LinesRequired => [
            (
                "Panier à détailler",
                "Dans ce programme, indiquez de quoi le panier est fait : un montant par catégorie (lines).",
            ),
            ("Basket to be told", "In this programme, say what the basket is made of: an amount a category (lines)."),
        ],
        Code::CategoryNotEligible => [
            (
                "Produits à régler autrement",
                "Rien de ce panier ne se règle avec ce chèque. Proposez un autre moyen de paiement.",
            ),
            (
                "Goods to be paid otherwise",
                "Nothing in this basket can be paid with this voucher. Offer another way to pay.",
            ),
        ],
        Code::AlreadyRedeemedByYou => [
            (
                "Achat déjà encaissé",
                "Vous venez d’encaisser ce montant avec ce chèque. S’il s’agit d’un autre achat, confirmez-le.",
            ),
            (
                "Purchase already taken",
                "You have just taken this amount with this voucher. If it is another purchase, confirm it.",
            ),
        ],
        Code::VoidWindowOver => [
            ("Annulation trop tardive", "Le délai d’annulation est passé. Contactez le porteur du programme."),
            ("Too late to void", "The time to void this is over. Contact the programme’s manager."),
        ],
        Code::HoldsNotOffered => [
            (
                "Pas de panier réservé",
                "Ce chèque ne sert pas à réserver un panier. Il peut le régler quand le panier est remis.",
            ),
            (
                "No baskets set aside",
                "This voucher does not set a basket aside. It can pay for it when the basket is handed over.",
            ),
        ],
        Code::HoldState => [
            (
                "Réservation terminée",
                "Cette réservation a déjà servi, ou n’a plus cours. Le chèque peut régler le panier comme d’habitude.",
            ),
            (
                "No longer set aside",
                "This basket was taken already, or is set aside no longer. The voucher can pay for it as usual.",
            ),
        ],
    }
}
