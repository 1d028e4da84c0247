"""The words of the simulated world: one vocabulary per community, templates per language."""

from dataclasses import dataclass

LANGUAGES = ("en", "de", "es", "fr", "pt", "ja")


@dataclass(frozen=True)
class Community:
    """A subject people gather around; its topic id is its position in `COMMUNITIES` + 1."""

    name: str
    words: tuple[str, ...]
    """Common first: words are drawn with a weight that falls with their rank."""
    local_words: dict[str, tuple[str, ...]]


def _community(name: str, words: str, **local_words: str) -> Community:
    return Community(
        name,
        tuple(words.split()),
        {language: tuple(text.split()) for language, text in local_words.items()},
    )


# fmt: off
COMMUNITIES = (
    _community("cooking",
               "recipe dough oven garlic broth skillet sourdough spices ferment knife",
               de="kochen rezept", es="cocina receta", fr="cuisine recette",
               pt="cozinha receita", ja="ryouri nabe"),
    _community("football",
               "match goal striker derby league keeper midfield penalty transfer coach",
               de="fussball tor", es="futbol gol", fr="ballon but",
               pt="futebol gol", ja="sakka shiai"),
    _community("programming",
               "compiler bug refactor kernel benchmark release tests parser deploy thread",
               de="fehler rechner", es="codigo error", fr="logiciel bogue",
               pt="codigo erro", ja="baguyou koodo"),
    _community("astronomy",
               "telescope nebula orbit comet galaxy eclipse lander spectrum probe moon",
               de="sterne mond", es="estrellas luna", fr="etoiles lune",
               pt="estrelas lua", ja="hoshi tsuki"),
    _community("gardening",
               "tomatoes compost seedlings pruning roses soil greenhouse mulch bees harvest",
               de="garten tomaten", es="jardin tomates", fr="jardin potager",
               pt="jardim horta", ja="niwa hana"),
    _community("cinema",
               "director scene screenplay premiere trailer festival sequel actor reel ending",
               de="film kino", es="pelicula cine", fr="film scene",
               pt="filme cena", ja="eiga kantoku"),
    _community("music",
               "album guitar chorus vinyl tour synth drummer lyrics encore melody",
               de="lied konzert", es="cancion concierto", fr="chanson concert",
               pt="musica show", ja="ongaku uta"),
    _community("cycling",
               "ride climb gravel peloton gears sprint tyre helmet breakaway descent",
               de="fahrrad berg", es="bicicleta subida", fr="velo montee",
               pt="bicicleta subida", ja="jitensha saka"),
    _community("economics",
               "inflation rates bonds wages markets tariffs growth budget forecast deficit",
               de="zinsen lohn", es="precios salario", fr="prix salaire",
               pt="juros preco", ja="keizai bukka"),
    _community("climate",
               "emissions solar turbines heatwave glacier carbon batteries flood grid drought",
               de="klima wetter", es="clima sequia", fr="climat canicule",
               pt="clima seca", ja="kikou taifuu"),
    _community("fashion",
               "coat fabric runway vintage tailoring denim linen boots collection palette",
               de="mode mantel", es="moda abrigo", fr="mode manteau",
               pt="moda casaco", ja="fuku kutsu"),
    _community("gaming",
               "speedrun boss patch controller lobby quest console mod pixel raid",
               de="spiel endgegner", es="juego jefe", fr="jeu manette",
               pt="jogo chefe", ja="geemu bosu"),
    _community("books",
               "novel chapter author library paperback plot essay poem translation bookshop",
               de="buch kapitel", es="libro novela", fr="livre roman",
               pt="livro romance", ja="hon shousetsu"),
    _community("photography",
               "lens shutter portrait film exposure tripod darkroom contrast frame dusk",
               de="bild kamera", es="foto camara", fr="photo objectif",
               pt="foto camera", ja="shashin kamera"),
    _community("pets",
               "puppy kitten leash rescue vet treats whiskers shelter zoomies paws",
               de="hund katze", es="perro gato", fr="chien chat",
               pt="cachorro gato", ja="inu neko"),
    _community("politics",
               "election parliament vote coalition minister bill campaign poll debate reform",
               de="wahl gesetz", es="elecciones ley", fr="vote loi",
               pt="voto lei", ja="senkyo kokkai"),
    _community("health",
               "sleep vaccine running protein doctor study stress therapy diet recovery",
               de="gesundheit schlaf", es="salud sueno", fr="sante sommeil",
               pt="saude sono", ja="kenkou suimin"),
    _community("travel",
               "train island hostel passport ferry border itinerary market visa sunrise",
               de="reise bahn", es="viaje tren", fr="voyage gare",
               pt="viagem trem", ja="ryokou densha"),
    _community("history",
               "archive empire medieval excavation treaty manuscript ruins dynasty coins fortress",
               de="geschichte burg", es="historia ruinas", fr="histoire chateau",
               pt="historia ruinas", ja="rekishi shiro"),
    _community("learning",
               "model dataset gradient paper attention robot inference tokens baseline agents",
               de="modell daten", es="modelo datos", fr="modele donnees",
               pt="modelo dados", ja="gakushuu deeta"),
)
# fmt: on
N_TOPICS = len(COMMUNITIES)


@dataclass(frozen=True)
class Phrases:
    """How one language says things; `{a}` and `{b}` are words of the post's topics."""

    statements: tuple[str, ...]
    questions: tuple[str, ...]
    praise: tuple[str, ...]
    """Closes a good post."""
    filler: tuple[str, ...]
    """Closes a poor one."""
    insults: tuple[str, ...]
    adult: tuple[str, ...]


PHRASES: dict[str, Phrases] = {
    "en": Phrases(
        (
            "Spent the morning on {a} and {b}.",
            "New notes about {a}: it changes how I see {b}.",
            "The {a} was better than the {b} today.",
            "Finally understood why {a} needs {b}.",
            "Three years of {a}, and {b} still surprises me.",
        ),
        ("Does anyone know a good {a} for {b}?", "What would you pick, {a} or {b}?"),
        ("Worth every minute.", "Full write-up with figures inside."),
        ("Anyway.", "Not sure why I post this."),
        ("Only a clueless fool disagrees, shut up.", "You people are pathetic idiots."),
        ("Uncensored and explicit, adults only.", "Nude set, 18 plus."),
    ),
    "de": Phrases(
        (
            "Heute wieder {a} und {b} ausprobiert.",
            "Endlich verstanden, was {a} mit {b} zu tun hat.",
            "Ohne {a} kein {b}, sage ich immer.",
        ),
        ("Kennt jemand gutes {a} für {b}?", "Was nehmt ihr lieber, {a} oder {b}?"),
        ("Hat sich gelohnt.", "Alles genau aufgeschrieben."),
        ("Na ja.", "Egal."),
        ("Wer das anders sieht, ist ein Trottel.", "Haltet die Klappe, ihr Versager."),
        ("Unzensiert, nur ab achtzehn.", "Nackt und ungeschminkt."),
    ),
    "es": Phrases(
        (
            "Hoy toca {a} y un poco de {b}.",
            "Por fin entiendo qué tiene que ver {a} con {b}.",
            "Sin {a} no hay {b}.",
        ),
        ("¿Alguien conoce {a} para {b}?", "¿Qué prefieren, {a} o {b}?"),
        ("Vale la pena.", "Lo cuento todo con detalle."),
        ("En fin.", "Da igual."),
        ("Quien no lo vea es un idiota.", "Cállense, inútiles."),
        ("Sin censura, solo adultos.", "Desnudo completo."),
    ),
    "fr": Phrases(
        (
            "Ce matin, {a} et encore {b}.",
            "Je comprends enfin le lien entre {a} et {b}.",
            "Pas de {a} sans {b}.",
        ),
        ("Quelqu'un connaît {a} pour {b} ?", "Vous choisissez {a} ou {b} ?"),
        ("Ça vaut le détour.", "Tout est expliqué, chiffres compris."),
        ("Bref.", "Peu importe."),
        ("Il faut être idiot pour dire le contraire.", "Taisez-vous, bande de nuls."),
        ("Sans censure, réservé aux adultes.", "Nu intégral."),
    ),
    "pt": Phrases(
        (
            "Hoje foi dia de {a} e de {b}.",
            "Agora entendi o que {a} tem a ver com {b}.",
            "Sem {a} não existe {b}.",
        ),
        ("Alguém conhece {a} para {b}?", "Vocês preferem {a} ou {b}?"),
        ("Valeu muito a pena.", "Contei tudo em detalhe."),
        ("Enfim.", "Tanto faz."),
        ("Só idiota discorda.", "Calem a boca, inúteis."),
        ("Sem censura, só adultos.", "Nudez completa."),
    ),
    "ja": Phrases(
        (
            "Kyou wa {a} to {b} no hi desu.",
            "Yatto {a} to {b} no kankei ga wakatta.",
            "{a} ga nai to {b} mo nai.",
        ),
        ("Dareka {b} ni ii {a} shitte imasu ka?", "{a} to {b}, dochira ga suki desu ka?"),
        ("Totemo yokatta.", "Kuwashiku kakimashita."),
        ("Maa ii ka.", "Betsu ni."),
        ("Wakaranai yatsu wa baka da.", "Damare, baka domo."),
        ("Mushuusei, seijin muke.", "Juuhachi kin desu."),
    ),
}

NAME_HEADS = (
    *("quiet", "amber", "north", "paper", "velvet", "copper", "lunar", "rapid", "mossy", "salty"),
    *("brave", "hazel", "silver", "wild", "tiny", "solar", "misty", "urban", "lucky", "plain"),
)
NAME_TAILS = (
    *("otter", "fern", "comet", "baker", "lantern", "harbour", "finch", "cedar", "pixel", "river"),
    *("walker", "teapot", "badger", "meadow", "signal", "cloud", "sparrow", "anchor", "maple"),
)
