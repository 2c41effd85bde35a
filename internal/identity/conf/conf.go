// Package conf is the optional file keystone.conf: identity's options under upstream's names and with upstream's defaults, read and checked.
// It must not know what the options are used for.
//
// An option is a field with tags: `opt` is its name, `default` its default as the file would say it (none: not set), `doc` explains it, `min`,
// `max` and `choices` bound it, `unit` is a duration's (seconds, minutes or days), `multi` marks a list whose option is repeated. A section is a
// struct of such fields in Config; a map of them is sections that have a name of their own, [oidc:NAME]. Nothing else is needed to add one but `hanok config keystone --reference > docs/keystone-conf.md`.
package conf

import "time"

// Config is the file.
type Config struct {
	Default               General               `section:"DEFAULT"`
	Identity              Identity              `section:"identity"`
	Resource              Resource              `section:"resource"`
	Role                  Role                  `section:"role"`
	Auth                  Auth                  `section:"auth"`
	SecurityCompliance    SecurityCompliance    `section:"security_compliance"`
	Token                 Token                 `section:"token"`
	Receipt               Receipt               `section:"receipt"`
	TOTP                  TOTP                  `section:"totp"`
	Trust                 Trust                 `section:"trust"`
	ApplicationCredential ApplicationCredential `section:"application_credential"`
	Credential            Credential            `section:"credential"`
	UnifiedLimit          UnifiedLimit          `section:"unified_limit"`
	Federation            Federation            `section:"federation"`
	OAuth2                OAuth2                `section:"oauth2"`
	SSL                   SSL                   `section:"ssl"`
	OIDC                  map[string]*OIDC      `section:"oidc"`
}

// General is keystone/conf/default.py.
type General struct {
	ListLimit           int  `opt:"list_limit" min:"1" doc:"Users, groups, projects, domains or roles in a list for which no limit is asked; the answer says truncated and where it goes on. Not set: all."`
	MaxDBLimit          int  `opt:"max_db_limit" default:"1000" min:"1" doc:"The largest limit that a list may be asked for, or list_limit set to. A list without either is complete; upstream cuts it here without saying so."`
	StrictPasswordCheck bool `opt:"strict_password_check" default:"false" doc:"Refuse passwords that are too long instead of cutting them."`
}

// Identity is keystone/conf/identity.py.
type Identity struct {
	ListLimit             int           `opt:"list_limit" min:"1" doc:"list_limit of users and groups."`
	MaxPasswordLength     int           `opt:"max_password_length" default:"4096" min:"1" max:"4096" doc:"Bytes of a password at most; bcrypt reads no more than 72."`
	DomainSpecificDrivers bool          `opt:"domain_specific_drivers_enabled" default:"false" doc:"Let a domain keep its users and groups in a directory (LDAP). Without it the configurations of domains have no effect."`
	ConfigsFromDatabase   bool          `opt:"domain_configurations_from_database" default:"false" doc:"Take the configurations of domains from the API (PUT /v3/domains/ID/config), where a change applies at once; else from files, which are read at the start."`
	DomainConfigDir       string        `opt:"domain_config_dir" default:"/etc/keystone/domains" doc:"Folder of the files keystone.DOMAIN.conf, one for each domain that has a configuration of its own."`
	Caching               bool          `opt:"caching" default:"true" doc:"Whether what a directory says of a user or group may be remembered."`
	CacheTime             time.Duration `opt:"cache_time" default:"600" unit:"seconds" min:"0" doc:"How long it is remembered. For as long, a token of a user who was disabled or removed there may stay good."`
}

// Resource is keystone/conf/resource.py.
type Resource struct {
	ListLimit int `opt:"list_limit" min:"1" doc:"list_limit of projects and domains."`
}

// Role is keystone/conf/role.py.
type Role struct {
	ListLimit int `opt:"list_limit" min:"1" doc:"list_limit of roles."`
}

// Auth is keystone/conf/auth.py.
type Auth struct {
	Methods []string `opt:"methods" default:"external,password,token,oauth1,mapped,application_credential" doc:"Methods of authentication that may be used. Add totp for one-time passcodes."`
}

// SecurityCompliance is keystone/conf/security_compliance.py.
type SecurityCompliance struct {
	DaysInactive        int           `opt:"disable_user_account_days_inactive" min:"1" doc:"Days without a login after which a user counts as disabled."`
	FailureAttempts     int           `opt:"lockout_failure_attempts" min:"1" doc:"Failed logins after which a user is locked."`
	LockoutDuration     time.Duration `opt:"lockout_duration" default:"1800" unit:"seconds" min:"1" doc:"How long the lock lasts after the last failed login. Not set: until an administrator enables the user."`
	PasswordExpiresDays int           `opt:"password_expires_days" min:"1" doc:"Days for which a password that is set from now on is good."`
	UniqueLastPasswords int           `opt:"unique_last_password_count" default:"0" min:"0" doc:"How many of a user's last passwords a new one must differ from."`
	MinimumPasswordAge  int           `opt:"minimum_password_age" default:"0" min:"0" doc:"Days before users may change a password that they chose themselves. Must be below password_expires_days."`
	PasswordRegex       string        `opt:"password_regex" doc:"Regular expression (Python's) that passwords must match. A dollar sign before a letter is written $$."`
	PasswordRegexWords  string        `opt:"password_regex_description" doc:"What password_regex asks for, in words; users whose password is refused read it."`
	ChangeUponFirstUse  bool          `opt:"change_password_upon_first_use" default:"false" doc:"Users must change a password that an administrator gave them before they can use it."`
}

// Token is keystone/conf/token.py.
type Token struct {
	Expiration         time.Duration `opt:"expiration" default:"3600" unit:"seconds" min:"1" doc:"How long a token is good for."`
	AllowExpiredWindow time.Duration `opt:"allow_expired_window" default:"172800" unit:"seconds" min:"0" doc:"For how long after its end a token may still be validated with allow_expired, so that work that was admitted can go on."`
	AllowRescopeScoped bool          `opt:"allow_rescope_scoped_token" default:"true" doc:"Whether a scoped token may be exchanged for one of another scope."`
}

// Receipt is keystone/conf/receipt.py.
type Receipt struct {
	Expiration time.Duration `opt:"expiration" default:"300" unit:"seconds" min:"0" max:"86400" doc:"How long a user has to prove the methods that a multi-factor login lacks."`
}

// TOTP is keystone/conf/totp.py.
type TOTP struct {
	IncludedPreviousWindows int `opt:"included_previous_windows" default:"1" min:"0" max:"10" doc:"How many earlier passcodes (of 30 seconds each) are accepted besides the present one."`
}

// Trust is keystone/conf/trust.py.
type Trust struct {
	AllowRedelegation    bool `opt:"allow_redelegation" default:"false" doc:"Has no effect, as upstream: each trust says whether it may be passed on."`
	MaxRedelegationCount int  `opt:"max_redelegation_count" default:"3" min:"0" doc:"How often a trust may be passed on at most."`
}

// ApplicationCredential is keystone/conf/application_credential.py.
type ApplicationCredential struct {
	UserLimit int `opt:"user_limit" default:"-1" min:"-1" doc:"How many application credentials a user may have; -1: any number."`
}

// Credential is keystone/conf/credential.py.
type Credential struct {
	AuthTTL   time.Duration `opt:"auth_ttl" default:"15" unit:"minutes" min:"1" doc:"How long a signed EC2 or S3 request is good for."`
	UserLimit int           `opt:"user_limit" default:"-1" min:"-1" doc:"How many credentials a user may have; -1: any number."`
}

// UnifiedLimit is keystone/conf/unified_limit.py.
type UnifiedLimit struct {
	EnforcementModel string `opt:"enforcement_model" default:"flat" choices:"flat,strict_two_level" doc:"How the limits of a project and of those below it go together: flat or strict_two_level."`
}

// Federation is keystone/conf/federation.py.
type Federation struct {
	AssertionPrefix  string        `opt:"assertion_prefix" doc:"Only attributes whose name starts with it reach the mapping."`
	RemoteID         string        `opt:"remote_id_attribute" doc:"Attribute that names the identity provider, for protocols that do not say so themselves."`
	TrustedDashboard []string      `opt:"trusted_dashboard" multi:"true" doc:"Address of a dashboard that a web single sign-on may return to."`
	AuthorizationTTL time.Duration `opt:"default_authorization_ttl" default:"0" unit:"minutes" min:"0" doc:"How long group memberships that a mapping gave stay in force without a new login; 0: they hold for the token alone."`
}

// OAuth2 is keystone/conf/oauth2.py.
type OAuth2 struct {
	AuthnMethods []string `opt:"oauth2_authn_methods" default:"tls_client_auth,client_secret_basic" doc:"How clients may prove to OAuth 2.0's token endpoint who they are: tls_client_auth is a certificate, client_secret_basic an application credential's secret."`
	CertMapping  string   `opt:"oauth2_cert_dn_mapping_id" default:"oauth2_mapping" doc:"The mapping whose rules say what a certificate's subject and issuer must be for a user."`
}

// SSL is what oslo.service's sslutils.py has of the kind; upstream's web servers have a setting of their own.
type SSL struct {
	CAFile string `opt:"ca_file" doc:"The authorities (PEM) whose client certificates count for tls_client_auth, and with the tokens that are bound to one; read again when it changes. TLS must end here and not at a proxy. Not set: no certificate counts."`
}

// OIDC is [oidc:ID]: how this cloud takes part in the logins of the identity provider that the federation API knows as ID. Upstream leaves this to
// Apache's mod_auth_openidc, whose settings these are.
type OIDC struct {
	Issuer         string   `opt:"issuer" doc:"The provider's address, exactly as it stands in its tokens. Needed."`
	ClientID       string   `opt:"client_id" doc:"What this cloud is registered as at the provider. Needed."`
	ClientSecret   string   `opt:"client_secret" secret:"true" doc:"The secret that belongs to it. Needed for access tokens that only the provider understands."`
	Scopes         []string `opt:"scope" default:"openid,email,profile" doc:"What a web login asks the provider for."`
	Audiences      []string `opt:"audience" doc:"For whom a token may be, besides client_id, that a client brings: the client ids of command lines, or a name of this cloud."`
	ClaimDelimiter string   `opt:"claim_delimiter" default:";" doc:"What joins the values of a claim that has several. Mappings part them at semicolons."`
	CAFile         string   `opt:"ca_file" doc:"Certificates that the provider's is checked with, instead of the system's."`
}
