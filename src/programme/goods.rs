//! What is sold, and by whom: the words in which rules tell what a voucher is for.

crate::text_enum! {
    /// What was bought, by kind.
    pub enum Category {
        FruitVegetables = "fruit_vegetables",
        Pulses = "pulses",
        CerealsBread = "cereals_bread",
        Dairy = "dairy",
        Eggs = "eggs",
        Meat = "meat",
        Fish = "fish",
        OtherFood = "other_food",
    }
}

crate::text_enum! {
    /// How it was grown or made, as the seller can prove it.
    pub enum Label {
        /// Organic, regulation (EU) 2018/848.
        Organic = "organic",
        /// Another of the signs that article L230-5-1 of the code rural (EGAlim) counts as sustainable.
        Egalim = "egalim",
        /// From the programme's own territory or the next.
        Local = "local",
    }
}

crate::text_enum! {
    /// What kind of seller a producer was approved as.
    pub enum ProducerClass {
        Farm = "farm",
        /// Several farms that sell together.
        FarmShop = "farm_shop",
        /// Épicerie solidaire.
        SolidarityGrocery = "solidarity_grocery",
        /// Baker, butcher, dairy: makes what it sells.
        Artisan = "artisan",
        Shop = "shop",
        /// Groupement d'achat.
        BuyingGroup = "buying_group",
        Restaurant = "restaurant",
    }
}
