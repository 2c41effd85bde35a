package conf

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Domain is what a domain may have of its own: a file keystone.DOMAIN.conf, or what the domain config API keeps.
type Domain struct {
	Identity DomainIdentity `section:"identity"`
	LDAP     LDAP           `section:"ldap"`
}

// DomainIdentity is the part of keystone/conf/identity.py that a domain may set.
type DomainIdentity struct {
	Driver    string `opt:"driver" default:"sql" choices:"sql,ldap" doc:"Where the domain's users and groups are: sql (here) or ldap."`
	ListLimit int    `opt:"list_limit" min:"0" doc:"Users or groups of a directory that a list shows at most."`
}

// LDAP is keystone/conf/ldap.py.
type LDAP struct {
	URL           string `opt:"url" default:"ldap://localhost" doc:"The directory's servers (ldap://, ldaps:// or ldapi://), parted by commas; the first that answers is used."`
	RandomizeURLs bool   `opt:"randomize_urls" default:"false" doc:"Try the servers in an order that each start draws anew."`
	User          string `opt:"user" doc:"DN of the account that searches. Not set: anonymous."`
	Password      string `opt:"password" secret:"true" doc:"Its password. Other options may name it as %(password)s if they are set by the API."`
	Suffix        string `opt:"suffix" default:"cn=example,cn=com" doc:"What user_tree_dn and group_tree_dn end with where they are not set."`
	QueryScope    string `opt:"query_scope" default:"one" choices:"one,sub" doc:"Whether entries are right below the tree's DN (one) or at any depth (sub)."`
	PageSize      int    `opt:"page_size" default:"0" min:"0" doc:"Entries that a list asks the server for at a time; 0: all at once."`
	Deref         string `opt:"alias_dereferencing" default:"default" choices:"never,searching,always,finding,default" doc:"Which aliases are followed. default is never."`
	DebugLevel    string `opt:"debug_level" doc:"Must be 0 or not set: it is for a library that is not used here."`
	Chase         string `opt:"chase_referrals" choices:",true,false,True,False" doc:"Must be false or not set: referrals are not followed."`

	UserTreeDN             string   `opt:"user_tree_dn" doc:"Where users are. Not set: ou=Users below the suffix."`
	UserFilter             string   `opt:"user_filter" doc:"What users must match besides their class, in parentheses."`
	UserObjectClass        string   `opt:"user_objectclass" default:"inetOrgPerson" doc:"The users' object class."`
	UserID                 string   `opt:"user_id_attribute" default:"cn" doc:"Attribute that ids are made from. It must never change: roles hang on it."`
	UserName               string   `opt:"user_name_attribute" default:"sn" doc:"Attribute with the name that users log in with."`
	UserMail               string   `opt:"user_mail_attribute" default:"mail" doc:"Attribute that shows as email."`
	UserDescription        string   `opt:"user_description_attribute" default:"description" doc:"Attribute that shows as description."`
	UserPass               string   `opt:"user_pass_attribute" default:"userPassword" doc:"Has no effect: a login binds, and nothing is written or read there."`
	UserEnabled            string   `opt:"user_enabled_attribute" default:"enabled" doc:"Attribute that says whether a user may log in."`
	UserEnabledInvert      bool     `opt:"user_enabled_invert" default:"false" doc:"The attribute says who is locked instead."`
	UserEnabledMask        int      `opt:"user_enabled_mask" default:"0" min:"0" doc:"The attribute is a number, in which these bits mark a disabled user (2 for Active Directory); 0: it is a boolean."`
	UserEnabledDefault     string   `opt:"user_enabled_default" default:"True" doc:"What counts where a user has no such attribute; with a mask a number, such as 512."`
	UserIgnore             []string `opt:"user_attribute_ignore" default:"default_project_id" doc:"Members of users that are not read: email, description, enabled, default_project_id."`
	UserProject            string   `opt:"user_default_project_id_attribute" doc:"Attribute with the id of a user's default project."`
	UserEnabledEmulation   bool     `opt:"user_enabled_emulation" default:"false" doc:"Enabled are the members of a group."`
	UserEnabledEmulationDN string   `opt:"user_enabled_emulation_dn" doc:"That group's DN. Not set: cn=enabled_users below the users' tree."`
	UserEmulationConfig    bool     `opt:"user_enabled_emulation_use_group_config" default:"false" doc:"That group is read by group_member_attribute and group_members_are_ids, not by member and DNs."`
	UserMapping            []string `opt:"user_additional_attribute_mapping" doc:"More attributes to show, as LDAP_ATTRIBUTE:MEMBER."`

	GroupTreeDN      string   `opt:"group_tree_dn" doc:"Where groups are. Not set: ou=UserGroups below the suffix."`
	GroupFilter      string   `opt:"group_filter" doc:"What groups must match besides their class, in parentheses."`
	GroupObjectClass string   `opt:"group_objectclass" default:"groupOfNames" doc:"The groups' object class."`
	GroupID          string   `opt:"group_id_attribute" default:"cn" doc:"Attribute that ids are made from. It must never change: roles hang on it."`
	GroupName        string   `opt:"group_name_attribute" default:"ou" doc:"Attribute with the group's name."`
	GroupMember      string   `opt:"group_member_attribute" default:"member" doc:"Attribute with the group's members."`
	GroupMemberIDs   bool     `opt:"group_members_are_ids" default:"false" doc:"Members are ids of users (as user_id_attribute has them) and not DNs, as in a posixGroup."`
	GroupDescription string   `opt:"group_desc_attribute" default:"description" doc:"Attribute that shows as description."`
	GroupIgnore      []string `opt:"group_attribute_ignore" doc:"Members of groups that are not read: description."`
	GroupMapping     []string `opt:"group_additional_attribute_mapping" doc:"More attributes to show, as LDAP_ATTRIBUTE:MEMBER."`
	GroupNesting     bool     `opt:"group_ad_nesting" default:"false" doc:"Members of groups in groups count, by Active Directory's rule for chains."`

	CACertFile string `opt:"tls_cacertfile" doc:"File of certificates that the server's is checked with, instead of the system's."`
	CACertDir  string `opt:"tls_cacertdir" doc:"Folder of such files."`
	StartTLS   bool   `opt:"use_tls" default:"false" doc:"Begin TLS (StartTLS) on ldap:// connections."`
	ReqCert    string `opt:"tls_req_cert" default:"demand" choices:"demand,never,allow" doc:"demand: the server's certificate must be good. never, allow: it is not checked."`

	Timeout          int     `opt:"connection_timeout" default:"-1" min:"-1" doc:"Seconds for connecting, and for each answer, without a pool; -1: 10."`
	Pool             bool    `opt:"use_pool" default:"true" doc:"Keep connections for the next search."`
	PoolSize         int     `opt:"pool_size" default:"10" min:"1" doc:"Connections for searches at most, with or without a pool."`
	PoolRetryMax     int     `opt:"pool_retry_max" default:"3" min:"1" doc:"How often all servers are tried before the directory counts as down."`
	PoolRetryDelay   float64 `opt:"pool_retry_delay" default:"0.1" doc:"Seconds between two tries."`
	PoolTimeout      int     `opt:"pool_connection_timeout" default:"-1" min:"-1" doc:"As connection_timeout, with a pool."`
	PoolLifetime     int     `opt:"pool_connection_lifetime" default:"600" min:"1" doc:"Seconds after which a connection is closed."`
	AuthPool         bool    `opt:"use_auth_pool" default:"true" doc:"Keep connections for the next login."`
	AuthPoolSize     int     `opt:"auth_pool_size" default:"100" min:"1" doc:"Connections for logins at most, with or without a pool."`
	AuthPoolLifetime int     `opt:"auth_pool_connection_lifetime" default:"60" min:"1" doc:"Seconds after which a connection for logins is closed."`
}

// DefaultDomain is a domain without a configuration.
func DefaultDomain() *Domain {
	d := &Domain{}
	Defaults(d)
	return d
}

// ParseDomain reads the text of a domain's file. Errors start with the line.
func ParseDomain(text string) (*Domain, error) {
	given, err := readINI(text)
	if err != nil {
		return nil, err
	}
	d := DefaultDomain()
	_, err = fill(d, given)
	return d, err
}

// DomainOption is an option as the domain config API has it: any JSON.
type DomainOption struct {
	Group, Name string
	Value       any
}

// DomainOf reads options of the API. null leaves an option at its default.
func DomainOf(given []DomainOption) (*Domain, error) {
	d := DefaultDomain()
	options := optionsOf(d)
	for _, g := range given {
		if g.Value == nil {
			continue
		}
		i := slices.IndexFunc(options, func(o Option) bool { return o.Section == g.Group && o.Name == g.Name })
		if i < 0 {
			return nil, fmt.Errorf("there is no option %s in group %s", g.Name, g.Group)
		}
		text, err := plainJSON(g.Value)
		if err == nil {
			err = options[i].set(text)
		}
		if err != nil {
			return nil, fmt.Errorf("%s in group %s: %w", g.Name, g.Group, options[i].discreet(err))
		}
	}
	return d, nil
}

// discreet keeps a secret's value out of an error.
func (o Option) discreet(err error) error {
	if o.tag.Get("secret") != "" {
		return errors.New("the value has a wrong type")
	}
	return err
}

// plainJSON is a JSON value as a file would give it.
func plainJSON(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case bool, int, int64, json.Number:
		return fmt.Sprint(v), nil
	case []any:
		var parts []string
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return "", errors.New("a list must be of strings")
			}
			parts = append(parts, s)
		}
		return strings.Join(parts, ","), nil
	}
	return "", errors.New("the value has a wrong type")
}

// LoadDomains reads the files keystone.DOMAIN.conf of a folder and those below it, by domain. Errors name the file and the line.
func LoadDomains(dir string) (map[string]*Domain, error) {
	out := map[string]*Domain{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, begins := strings.CutPrefix(e.Name(), "keystone.")
		name, ends := strings.CutSuffix(name, ".conf")
		if e.IsDir() || !begins || !ends || name == "" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if out[name] != nil {
			return fmt.Errorf("%s: the domain %s has another file", path, name)
		}
		if out[name], err = ParseDomain(string(text)); err != nil {
			return fmt.Errorf("%s:%w", path, err)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the configurations of domains: %w", err)
	}
	return out, nil
}
