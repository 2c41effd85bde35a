package identity

import (
	"reflect"
	"testing"

	"github.com/hanok-cloud/hanok/internal/identity/conf"
)

// What the API shows as defaults is what an option that is not set means.
func TestDomainDefaultsAreTheOptions(t *testing.T) {
	var given []conf.DomainOption
	for _, o := range configOptions() {
		given = append(given, conf.DomainOption{Group: o.group, Name: o.name, Value: o.value})
	}
	d, err := conf.DomainOf(given)
	if err != nil {
		t.Fatal(err)
	}
	want := conf.DefaultDomain()
	want.LDAP.UserMapping, want.LDAP.GroupMapping, want.LDAP.GroupIgnore = d.LDAP.UserMapping, d.LDAP.GroupMapping, d.LDAP.GroupIgnore // empty, or not there
	if len(d.LDAP.UserMapping)+len(d.LDAP.GroupMapping)+len(d.LDAP.GroupIgnore) > 0 || !reflect.DeepEqual(d, want) {
		t.Errorf("%+v\nis not\n%+v", d, want)
	}
}
