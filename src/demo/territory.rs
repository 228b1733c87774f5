//! The invented people and organisations, on real communes of the Pas-de-Calais (codes of INSEE).

use crate::programme::Category::{self, CerealsBread, Dairy, Eggs, Fish, FruitVegetables, Meat, OtherFood, Pulses};

/// INSEE code and name.
pub type Place = (&'static str, &'static str);

pub const HENIN: Place = ("62427", "Hénin-Beaumont");
pub const CARVIN: Place = ("62215", "Carvin");
pub const LENS: Place = ("62498", "Lens");
pub const LIEVIN: Place = ("62510", "Liévin");
pub const LIBERCOURT: Place = ("62907", "Libercourt");
pub const OIGNIES: Place = ("62637", "Oignies");
pub const COURRIERES: Place = ("62250", "Courrières");
pub const BETHUNE: Place = ("62119", "Béthune");
pub const BRUAY: Place = ("62178", "Bruay-la-Buissière");
pub const HOUDAIN: Place = ("62457", "Houdain");
/// Outside both programmes.
pub const MONTREUIL: Place = ("62588", "Montreuil");

/// A commune, and how many of the households live there: some communes stay below 11.
pub type Deck = &'static [(Place, usize)];

pub const BASSIN: Deck =
    &[(HENIN, 17), (CARVIN, 13), (LIEVIN, 13), (LENS, 4), (OIGNIES, 3), (LIBERCOURT, 2), (COURRIERES, 2)];
pub const ARTOIS: Deck = &[(BETHUNE, 12), (BRUAY, 12), (HOUDAIN, 4), (LENS, 2)];

/// The one password of every login here.
pub const PASSWORD: &str = "cheque-en-bois";

/// Somebody with a login: address, name, organisation.
pub struct Face {
    pub login: &'static str,
    pub name: &'static str,
    pub organisation: &'static str,
}

const fn face(login: &'static str, name: &'static str, organisation: &'static str) -> Face {
    Face { login, name, organisation }
}

pub const ADMINISTRATOR: Face = face("admin@primeur.example", "Prudence Ortie", "Primeur en démonstration");
pub const MANAGER: Face = face("porteur@terrils.example", "Odile Panais", "Projet alimentaire des Terrils");
pub const DESKS: [Face; 2] = [
    face("ccas@troisfosses.example", "Basile Rutabaga", "CCAS des Trois-Fosses"),
    face("accueil@lagaillette.example", "Solange Cerfeuil", "Association La Gaillette"),
];
pub const FUNDERS: [Face; 4] = [
    face("financeur@terreettable.example", "Hector Topinambour", "Fonds régional Terre et Table"),
    face("fondation@lessillons.example", "Irène Salsifis", "Fondation Les Sillons"),
    face("mutuelle@desgalibots.example", "Gaston Crosne", "Mutuelle des Galibots"),
    face("agence@santeetassiette.example", "Nadia Livèche", "Agence Santé et Assiette"),
];
pub const EVALUATOR: Face = face("evaluation@regardneuf.example", "Colette Mâche", "Laboratoire Regard neuf");

/// Where and when something is sold. Days count from Monday = 0; minutes from midnight.
pub struct Market {
    pub name: &'static str,
    pub at: Place,
    pub days: &'static [i32],
    pub opens: i64,
    pub closes: i64,
}

const MORNING: (i64, i64) = (8 * 60, 12 * 60 + 30);
const AFTERNOON: (i64, i64) = (14 * 60, 18 * 60 + 30);

const fn market(name: &'static str, at: Place, days: &'static [i32], (opens, closes): (i64, i64)) -> Market {
    Market { name, at, days, opens, closes }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Approved,
    /// Approved at first, suspended on the way.
    Suspended,
    NeverApproved,
}

pub struct Grower {
    pub face: Face,
    pub sells: &'static [Category],
    pub markets: &'static [Market],
    pub standing: Standing,
}

const fn grower(face: Face, sells: &'static [Category], markets: &'static [Market]) -> Grower {
    Grower { face, sells, markets, standing: Standing::Approved }
}

/// The first is the one that a newcomer logs in as.
pub const GROWERS: [Grower; 12] = [
    grower(
        face("ferme@grandmarais.example", "Augustine Bette", "Ferme du Grand Marais"),
        &[FruitVegetables, Pulses, Eggs],
        &[
            market("Marché de Hénin-Beaumont", HENIN, &[1, 4], MORNING),
            market("Marché de Carvin", CARVIN, &[5], MORNING),
            market("Boutique à la ferme", OIGNIES, &[2, 3, 4, 5], AFTERNOON),
        ],
    ),
    grower(
        face("jardins@hortense.example", "Hortense Fenouil", "Les Jardins d'Hortense"),
        &[FruitVegetables],
        &[market("Marché de Liévin", LIEVIN, &[0, 3], MORNING), market("Marché de Lens", LENS, &[1, 4, 6], MORNING)],
    ),
    grower(
        face("maraichage@deuxterrils.example", "Fernand Oseille", "Maraîchage des Deux Terrils"),
        &[FruitVegetables, Pulses],
        &[market("Marché de Béthune", BETHUNE, &[0, 4], MORNING), market("Marché de Bruay", BRUAY, &[3, 6], MORNING)],
    ),
    grower(
        face("verger@gohelle.example", "Pauline Coing", "Verger de la Gohelle"),
        &[FruitVegetables, OtherFood],
        &[market("Marché de Liévin", LIEVIN, &[3, 5], MORNING), market("Place de Houdain", HOUDAIN, &[1], MORNING)],
    ),
    Grower {
        standing: Standing::Suspended,
        ..grower(
            face("fromagerie@vieuxpuits.example", "Marius Lait", "Fromagerie du Vieux Puits"),
            &[Dairy],
            &[
                market("Marché de Hénin-Beaumont", HENIN, &[4], MORNING),
                market("Marché de Béthune", BETHUNE, &[0], MORNING),
            ],
        )
    },
    grower(
        face("boulange@levaindescorons.example", "Zélie Épeautre", "Le Levain des Corons"),
        &[CerealsBread],
        &[
            market("Fournil de Carvin", CARVIN, &[1, 2, 3, 5], AFTERNOON),
            market("Marché de Courrières", COURRIERES, &[3], MORNING),
        ],
    ),
    grower(
        face("elevage@boisrond.example", "Achille Pré", "Élevage du Bois Rond"),
        &[Meat, Eggs],
        &[
            market("Marché de Béthune", BETHUNE, &[0], MORNING),
            market("Marché de Hénin-Beaumont", HENIN, &[1], MORNING),
        ],
    ),
    grower(
        face("poulailler@escarbille.example", "Rose Duvet", "Poulailler de l'Escarbille"),
        &[Eggs, Meat],
        &[market("Marché de Libercourt", LIBERCOURT, &[2], MORNING), market("Marché de Liévin", LIEVIN, &[0], MORNING)],
    ),
    grower(
        face("peche@estrandoise.example", "Noël Salicorne", "Pêche estrandoise"),
        &[Fish],
        &[market("Marché de Lens", LENS, &[4], MORNING), market("Marché de Bruay", BRUAY, &[5], MORNING)],
    ),
    grower(
        face("epicerie@lalampisterie.example", "Lucien Sarrasin", "Épicerie solidaire La Lampisterie"),
        &[OtherFood, Pulses, CerealsBread, FruitVegetables],
        &[
            market("La Lampisterie, Houdain", HOUDAIN, &[1, 2, 3, 4, 5], AFTERNOON),
            market("La Lampisterie, Béthune", BETHUNE, &[2, 5], AFTERNOON),
        ],
    ),
    grower(
        face("coop@legumesetcie.example", "Blanche Courge", "Coopérative Légumes et Compagnie"),
        &[FruitVegetables, Dairy, Eggs],
        &[
            market("Halle de Bruay", BRUAY, &[1, 2, 3, 4, 5], AFTERNOON),
            market("Drive de Lens", LENS, &[2, 4], AFTERNOON),
        ],
    ),
    Grower {
        standing: Standing::NeverApproved,
        ..grower(
            face("rucher@chevalement.example", "Cyprien Sainfoin", "Rucher du Chevalement"),
            &[OtherFood],
            &[market("Marché de Carvin", CARVIN, &[5], MORNING)],
        )
    },
];

pub const FIRST_NAMES: [&str; 16] = [
    "Rosalie",
    "Firmin",
    "Léonie",
    "Amadou",
    "Yasmina",
    "Célestin",
    "Fatou",
    "Wanda",
    "Émile",
    "Karima",
    "Stanislas",
    "Louison",
    "Mehdi",
    "Eulalie",
    "Tomasz",
    "Joséphine",
];
pub const SURNAMES: [&str; 14] = [
    "Poireau",
    "Chicorée",
    "Navet",
    "Betterave",
    "Cardon",
    "Potiron",
    "Endive",
    "Radis",
    "Échalote",
    "Courgette",
    "Pissenlit",
    "Ciboule",
    "Pourpier",
    "Carotte",
];
