"""Words that decide about sentence ends: abbreviations, first words of sentences, verbs of speech.

All are in lower case, but for units, and without the last stop; a word of two parts has its inner stop. A set
holds the words of all languages, as a text may mix them. A word that would be wrong in another language
belongs into a set that looks at what stands around it, or into OWN.
"""

from __future__ import annotations

import re
from functools import cache


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


BEFORE_WORDS = _words(
    """
    mr mrs ms messrs mm ps p.s amb supt attn jj ff rr ss cc dd nn dr drs phd prof profs rev revd ste mt ft
    capt cpt sgt lt maj cmdr cdr adm gov
    sen pres gen col cpl pvt smt shri sri kum kumari adv fr sr sra srta sres dra dña ud uds vd vds lic arq
    mme mlle mgr pr hr hrn frl ing dipl sig.ra sigg dott dott.ssa prof.ssa avv geom med jur kath profa eng
    exa exmo sta sto dhr mevr mej ds ks św ul abp inż płk ppłk kpt doç sn öğr gör
    г-н г-жа ул пер просп пр-т пл бул наб обл р-н пос дер кв корп стр оф проф акад доц св гр тов зам нач
    инж ген ред букв ок буд пгт вул журн див чл ім δρ κα αγ นพ
    डॉ डा एड इंजी श्री श्रीमती सुश्री कु पं प्रो मि स्व मो मा सौ प्रा प्राचार्य अॅड ॲड चि ह.भ.प
    ড ডা মো মোঃ মি মিসেস প্রো অধ্যা ডাঃ ইঞ্জি
    டாக்டர் திரு திருமதி செல்வி பேரா முனைவர் திருவாளர் டா
    డా డాక్ శ్రీ శ్రీమతి ప్రొ చి కుమారి
    ડૉ ડો શ્રી શ્રીમતી પ્રો કુ સ્વ પૂ
    ਡਾ ਸ ਸ੍ਰ ਸ੍ਰੀ ਸ਼੍ਰੀ ਪ੍ਰੋ ਗਿ
    ಡಾ ಶ್ರೀ ಶ್ರೀಮತಿ ಪ್ರೊ ಪ್ರೋ ಕು
    ഡോ ശ്രീ ശ്രീമതി പ്രൊഫ അഡ്വ
    ଡ ଡା ଶ୍ରୀ ପ୍ରୋ
    vs eg ie cf e.g i.e z.b d.h u.a o.ä viz ca evtl ggf inkl zzgl exkl bspw vgl sog gem bzw zb dh geb gest
    insb insbes einschl ausschl abzgl betr bes versch p.ex c.-à-d c-à-d càd env ej p.ej ee cfr ad.es
    bijv bv o.a d.w.z m.a.w i.v.m resp incl excl np m.in tzn tj ww zob wg zm např bkz örn т.е т.к т.н напр
    см ср
    उदा அ.தா எ.கா ఉదా ઉદા ಉದಾ ഉദാ
    """
)
"""Titles and other abbreviations that do not end a sentence."""

BEFORE_NUMBERS = _words(
    """
    no nos art arts sec secs eqs matt aufl séc nº ur os σελ ún fig figs ch eq p pp re jan feb mar apr jun
    jul aug sep sept oct nov dec mon tue tues wed
    thu thur thurs fri sat sun tab cap bin app ann para sect pop ene abr ago dic mié jue vie sáb dom lun
    janv févr avr juil déc mär mrz okt dez giu lug ott ян фев авг сент окт нояб дек род ум எண் op
    """
)
"""Abbreviations if a number follows, else words."""

BEFORE_NUMERALS = _words(
    """
    vol vols nr nrs núm num tel ext rs str kap abb bd anm ziff abs pág págs pag pagg pgf chap blz
    párr párrs rys tabl zob rozdz godz tél fol fasc n abschn
    рис табл гл разд тел п пп см стор
    रु ता क्र पृ सं नं इ.स ई क्रमांक टेलि
    টা নং পৃ ரூ பக் கி.பி கி.மு రూ నం పే క్రీ.శ క్రీ.పూ રૂ નં પૃ ઈ.સ ਰੁ ਨੰ ਪੰ ರೂ ಸಂ ಪು ಕ್ರಿ.ಶ രൂ നം പേ
    ഏ.ഡി ଟ
    """
)
"""Abbreviations before a number, sometimes before a name, rarely at the end of a sentence."""

LAST_WORDS = _words(
    """
    etc usw ecc itd itp enz vb vd osv m.m mfl الخ إلخ etcétera ff b.c a.d c.e b.c.e
    """
)
"""Abbreviations that end a sentence unless it goes on in lower case."""

EITHER = _words(
    """
    inc ltd ltda co corp jr bros blvd ave av rd ln hwy sq dept univ assn govt est approx esq apt bldg mfg
    natl intl abbr acad phil ed eds trans al et.al lbs tbsp tsp oz qt gal mph
    uu aa oo hh mwst max misc deg cía pza pl cjo dpto dto izq dcha prov aprox
    uds evt ing cie éd fam gebr ges hbf jh jhd mio mrd tsd chr tägl urspr ugs österr schweiz
    cad sok mah bul müh yy
    st mag rag ir mw bp rep ev sig hon др пр им
    """
)
"""Abbreviations that end a sentence if a word that often begins one follows."""

IN_CAPITALS = _words("ee uu jj oo ff aa rr ss cc dd nn hh mr mrs dr ps no mm pvt ltd")
"""Abbreviations that are also written in capitals."""

UNITS = _words(
    """
    m g l h s t km kg cm mm ml mg min sec hr hrs lb lbs oz ft yd in mi mph std
    г гг м л т в вв ч с км кг см мм мин сек руб коп тыс млн млрд шт чел мл га
    кб мб гб грн хв год Вт кВт r w zł gr hab
    """
)
"""Abbreviations after a number, which end a sentence unless it goes on in lower case."""

OWN = {
    "da": _words("kl bl f.eks dvs d"),
    "de": _words("art best lat röm max mind"),
    "fi": _words("esim mm ns klo"),
    "it": _words("es"),
    "no": _words("kl f.eks dvs bl"),
    "pl": _words("ok im os al dot hab"),
    "pt": _words("ex r"),
    "sv": _words("kl t.ex bl.a dvs s.k"),
    "tr": _words("kat no"),
}
"""Abbreviations that are words of other languages: only used where the language is known."""

LETTER_NAMES = _words(
    """
    एफ एच एल एम एन आर एस एक्स वाई डब्ल्यू क्यू जेड आय आई यू
    এফ এইচ এল এম এন আর এস এক্স ওয়াই ডব্লিউ কিউ জেড আই
    எஃப் எப் எச் ஹெச் எல் எம் என் ஆர் எஸ் எக்ஸ் ஒய் டபிள்யூ க்யூ ஐ
    ఎఫ్ హెచ్ ఎల్ ఎమ్ ఎం ఎన్ ఆర్ ఎస్ ఎక్స్ వై డబ్ల్యు క్యూ ఐ
    એફ એચ એલ એમ એન આર એસ એક્સ વાય ડબલ્યુ ક્યુ ઝેડ આઈ
    ਐਫ ਐੱਫ ਐਚ ਐੱਚ ਐਲ ਐੱਲ ਐਮ ਐੱਮ ਐਨ ਐੱਨ ਆਰ ਐਸ ਐੱਸ ਵਾਈ
    ಎಫ್ ಎಚ್ ಹೆಚ್ ಎಲ್ ಎಂ ಎಮ್ ಎನ್ ಆರ್ ಎಸ್ ಎಕ್ಸ್ ವೈ ಐ
    എഫ് എച്ച് എൽ എം എൻ ആർ എസ് എക്സ് വൈ ഐ
    ای اے بی سی ڈی ایف جی ایچ جے کے ایل ایم این او پی کیو آر ایس ٹی یو وی ڈبلیو ایکس وائی زیڈ
    """
)
"""Names of Latin letters, as initials are written in other scripts."""

SHORT_WORDS = _words(
    """
    है हैं हूँ हूं हो था थे थी थीं दो दे दी दिया लो ले ली जा गा गी गे ना भी ही तो की का के को पी सो वो ये यह
    जी न मैं में से
    घे बघ छे छो છે છો છું હા ના જા લે દે કે રે જો તો આ હતો હો જી વા તે મા
    না হ্যাঁ হ্যা কী কি যা হয় দে নে আয় যাই
    வா போ நீ தா ஆம் பூ தீ ఆ రా పో లే దా నా మా లో ನೀ ಬಾ ಹೂ ಹೌ ನಾ ആ വാ പോ നീ താ ഹാ
    ਹੈ ਹਨ ਹਾਂ ਹੋ ਜਾ ਦੇ ਲੈ ਸੀ ਨਾ ਜੀ ਗਾ ਕੀ ਦੋ ସେ
    """
)
"""Words of one syllable that end sentences."""

STARTERS = _words(
    """
    he she it they yours mine hers ours theirs we you i the this that these those there then when while
    where what why how who his her its their our my your in on at as so but and or if after before because
    although however yes no not now here did do does is are was were has have had can could would should let
    please some many most all each both another one once since still
    er sie es wir ihr ich der die das ein eine dann danach da dort doch aber und wer wie wo wenn nun man
    beide alle dies diese dieser dieses sein seine später heute jetzt auch unsere unser mein meine ihre
    unter bei für mit um
    il elle ils elles je tu nous vous ce cela le la les un une des et mais puis ensuite dans sa son ses
    el los las ella ellos ellas se su sus yo pero luego entonces después en y también era fue
    lui lei loro gli poi ma e fu erano sono
    ele ela eles elas o os uma mas depois também foi
    hij zij ze wij het de een maar daarna dan ook
    ona ono oni potem to jest był była ale w
    bu şu onlar ama sonra ve
    он она оно они мы вы я это этот эта эти потом затем но и а там тогда его её их в на когда что кто как
    все теперь здесь
    """
)
"""First words of sentences that are hardly ever names."""

LABELS = _words(
    """
    plan plans vitamin vitamins vitamine vitamina type types typ tipo tipus class classe clase classes
    klasse grade grades group groupe grupo gruppo gruppe gruppen hepatitis option options opción opção
    section part parts figure table appendix exhibit point points punkt punto ponto answer choice block
    building gate platform team row column level size step side room item case variant version ward zone
    unit hall track line grado letter buchstabe letra lettre note key war chapter schedule план группа
    группы класс витамин витамина точка пункт вариант тип article artikel artículo act
    """
)
"""Words before a single letter that is no initial."""

BEFORE_I = _words(
    """
    did do does am was were have had will would can could should may might must shall than as nor or so if
    but
    """
)
"""Words before an "I" that ends a sentence."""

ORDINAL_BEFORE = _words(
    """
    am im vom zum zur beim bis ab seit der die das dem den des und oder jeder jede jedes jedem jeden
    ihr ihre ihrem ihren ihrer ihres sein seine seinem seinen seiner seines mein meine meinem meinen meiner
    unser unsere unserem unseren unserer dein deine deinem deinen euer erste heute ein einem einen einer
    """
)
"""German words before an ordinal number."""

ORDINAL_AFTER = _words(
    """
    uhr januar jänner februar märz april mai juni juli august september oktober november dezember
    jahrhundert jahrhunderts jahrhunderten stock etage mal geburtstag geburtstages klasse auflage weltkrieg
    weltkriegs weltkrieges jahrestag bundesliga liga stockwerk lebensjahr semester kapitel bezirk
    dünya cadde sokak kat yüzyıl bölüm lig
    """
)
"""German and Turkish words after an ordinal number."""

NUMBER_WORDS = _words(
    "one two three four five six seven eight nine ten eleven twelve uno dos tres un deux trois eins zwei drei"
)

AFTER_TIMES = _words(
    """
    monday tuesday wednesday thursday friday saturday sunday january february march april june july august
    september october november december eastern pacific central mountain
    """
)
"""Capitalised words that go on after "a.m." and "p.m.", as names of time zones do."""

EXCLAMATION_NAMES = _words("yahoo jeopardy joomla wham")
"""Names that end with an exclamation mark."""

SAYING = _words(
    """
    said says asked asks cried replied answered shouted whispered exclaimed added continued muttered called
    yelled screamed murmured laughed
    कहा पूछा बोला बोली बोले चिल्लाया चिल्लाई कहते कहती म्हणाला म्हणाली म्हणाले विचारले विचारलं
    বলল বললেন বললো বলে বলেন জিজ্ঞেস জিজ্ঞাসা
    என்றான் என்றாள் என்றார் என்றார்கள் என்று என கேட்டான் கேட்டாள் అన్నాడు అన్నది అంది అన్నారు అని అడిగాడు
    કહ્યું પૂછ્યું બોલ્યો બોલી ਕਿਹਾ ਪੁੱਛਿਆ ਬੋਲਿਆ ਬੋਲੀ ಎಂದು ಎಂದನು ಎಂದಳು ಎಂದರು ಹೇಳಿದ ಕೇಳಿದ
    എന്ന് എന്നു പറഞ്ഞു ചോദിച്ചു
    قال قالت سأل سألت صاح صاحت أجاب أجابت هتف کہا پوچھا بولا بولی بولے چلایا گفت پرسید אמר אמרה שאל שאלה
    말했다 물었다 외쳤다 대답했다 소리쳤다
    """
)
"""Verbs of speech after a quote, where the case of the next word does not tell that the sentence goes on."""

QUOTE_PARTICLE = re.compile(
    r"(?:と(?!ころ|ても|もだち|なり|き[はに])|って|という|など|なんて|の(?!ち)|を|이?라(?:고|며|는)|하고|며"
    r"|\w{1,4}?(?:说|說|问|問|道|喊|叫|答|笑着|笑著))"
)
"""What continues a sentence directly after a quote: particles, and in Chinese who speaks."""


PREPOSITIONS = _words(
    """
    at on by in around about until till from since before after between every um am im bis seit vor nach
    à en dans vers le a el desde alle il nel às em no na в во к с до после около w o od do
    """
)
"""First words of a phrase of time before what happened then."""

SAYING_PARTICLE = re.compile("と(?:言|い[いうっ]|聞|きい|思|おも|叫|尋|問|答|、)")
"""A Japanese particle and verb after what is said without quotation marks."""

ELIDED = _words("l c j n s qu i")
"""Words before an apostrophe that begin sentences."""


@cache
def own_abbreviations(language: str | None) -> frozenset[str]:
    """Return the abbreviations that only `language` has (ISO code, also with a region)."""
    return OWN.get((language or "").lower().partition("-")[0], frozenset())
