package seed

// The names that the data is made of. They are of many scripts and lengths on purpose: whoever
// shows, sorts or cuts them should meet an umlaut, a wide character and a right-to-left name here
// rather than in production. Each has a plain spelling for addresses where one is needed.

type spelled struct{ name, plain string }

var organisations = []spelled{
	{"Northwind Managed Services", "northwind"},
	{"Müller & Söhne Systemhaus", "mueller-soehne"},
	{"Fjordheim Drift AS", "fjordheim"},
	{"Sakura クラウド株式会社", "sakura-cloud"},
	{"Ateliers Réseau Île-de-France", "ateliers-reseau"},
	{"Łódzka Chmura sp. z o.o.", "lodzka-chmura"},
	{"Harbour & Pine IT", "harbour-pine"},
	{"Serviços São Bento", "sao-bento"},
	{"Київські Мережі", "kyiv-merezhi"},
	{"Al-Noor النور للتقنية", "al-noor"},
	{"Öresund Cloud Operations", "oresund"},
	{"Kānuka Tech", "kanuka"},
	{"Ελληνικά Δίκτυα", "ellinika"},
	{"Baobab Digital", "baobab"},
	{"Nguyễn Phát Solutions", "nguyen-phat"},
	{"Cedar County Shared IT", "cedar-county"},
	{"हिमालय Infotech", "himalaya"},
	{"Çınar Bilişim", "cinar"},
	{"서울 매니지드", "seoul-managed"},
	{"Loch Ard Consulting", "loch-ard"},
}

var customers = []string{
	"Contoso Retail", "Bäckerei Grünwald", "Stadtwerke Öhringen", "Clínica Peñalver", "Fabrikam Motors",
	"Hôpital Saint-Éloi", "Trafikselskabet Ærø", "Banka Říp", "Zażółć Logistics", "東京メディカル", "Riverside School District",
	"Olive & Thyme", "Norrköpings Sågverk", "Ağaoğlu İnşaat", "Casa do Açúcar", "Tōhoku Kōgyō", "O'Leary & Daughters",
	"Wingtip Toys", "Ørsted Bolig", "Kraków Design Studio", "Київ Фарма", "Αιγαίο Ναυτιλιακή", "مستشفى السلام",
	"Lake Tahoe Credit Union", "Société Générale d'Étanchéité", "Maurer Präzision", "Ngā Pou Trust", "부산 물산",
	"Adatum Insurance", "Vila Velha Têxtil", "Brøndby Kommune", "Tailspin Airways", "Đà Nẵng Foods", "Graphic Design Institute",
	"Pérez Hermanos", "Smörgås Catering", "Žižkov Pivovar", "City of Saint Albans", "Woodgrove Bank", "Humongous Freight",
}

var places = []string{
	"HQ", "North", "South", "West", "Zürich", "Malmö", "Québec", "Porto", "Gdańsk", "Kraków", "Reykjavík", "Cork",
	"Montréal", "Austin", "Ōsaka", "İzmir", "Leeds", "Perth", "Nairobi", "Bogotá",
}

var givenNames = []spelled{
	{"Zoë", "zoe"}, {"Amara", "amara"}, {"Jürgen", "juergen"}, {"Li Wei", "liwei"}, {"Søren", "soren"}, {"Priya", "priya"},
	{"José", "jose"}, {"Hannah", "hannah"}, {"Olena", "olena"}, {"Yūki", "yuki"}, {"Chidi", "chidi"}, {"Anaïs", "anais"},
	{"Mehmet", "mehmet"}, {"Grace", "grace"}, {"Łukasz", "lukasz"}, {"Fatima", "fatima"}, {"Tom", "tom"}, {"Nia", "nia"},
	{"Björn", "bjorn"}, {"Minh", "minh"},
}

var familyNames = []spelled{
	{"García", "garcia"}, {"Okafor", "okafor"}, {"Müller", "mueller"}, {"Nguyễn", "nguyen"}, {"Sørensen", "sorensen"},
	{"Sharma", "sharma"}, {"O'Brien", "obrien"}, {"Шевченко", "shevchenko"}, {"田中", "tanaka"}, {"Lefèvre", "lefevre"},
	{"Yılmaz", "yilmaz"}, {"Nowak", "nowak"}, {"Haddad", "haddad"}, {"Smith", "smith"}, {"Åkesson", "akesson"},
	{"Kowalczyk", "kowalczyk"}, {"Mbeki", "mbeki"}, {"Petrović", "petrovic"}, {"Silva", "silva"}, {"Kim", "kim"},
}

// policyType is a kind of configuration object that a sync reads.
type policyType struct{ name, category, noun string }

var policyTypes = []policyType{
	{"deviceConfiguration", "Configuration", "Device restrictions"},
	{"settingsCatalogPolicy", "Configuration", "Baseline settings"},
	{"deviceCompliancePolicy", "Compliance", "Compliance"},
	{"conditionalAccessPolicy", "Access", "Require MFA"},
	{"appProtectionPolicy", "Apps", "App protection"},
	{"mobileApp", "Apps", "Company Portal"},
	{"windowsUpdateRing", "Updates", "Update ring"},
	{"endpointSecurityPolicy", "Security", "Antivirus"},
	{"securityBaselinePolicy", "Security", "Security baseline"},
	{"deviceManagementScript", "Scripts", "Onboarding script"},
	{"enrollmentRestriction", "Enrollment", "Enrollment limits"},
	{"assignmentFilter", "Foundations", "Corporate devices"},
	{"scopeTag", "Foundations", "Scope"},
	{"termsAndConditions", "Foundations", "Terms of use"},
}

var platforms = []string{"windows10", "iOS", "android", "macOS", "all"}

// failureCode is a reason for which operations fail, and how often it is the reason.
type failureCode struct {
	code, message string
	weight        float64
}

var failureCodes = []failureCode{
	{"graph_throttled", "Microsoft Graph answered 429; gave up after 5 attempts.", 34},
	{"graph_timeout", "No answer from Microsoft Graph within 30 s.", 21},
	{"graph_service_unavailable", "Microsoft Graph answered 503.", 13},
	{"auth_consent_missing", "Admin consent is missing for DeviceManagementConfiguration.Read.All.", 9},
	{"auth_token_expired", "The tenant's credential has expired; renew it to go on.", 7},
	{"permission_denied", "Microsoft Graph answered 403 for this resource.", 6},
	{"policy_not_found", "The policy was deleted while it was being read.", 4},
	{"payload_too_large", "The policy is larger than 4 MB and was left out.", 2.5},
	{"storage_write_failed", "The backup could not be written: no space left.", 2},
	{"unexpected_response", "The answer was not valid JSON (Größe 0 Byte).", 1.5},
}

// zones are where the backup schedules keep their local time.
var zones = []string{
	"Europe/Berlin", "America/New_York", "UTC", "Asia/Tokyo", "Europe/London", "America/Sao_Paulo",
	"Asia/Kolkata", "Australia/Adelaide", "Pacific/Auckland", "America/St_Johns",
}
