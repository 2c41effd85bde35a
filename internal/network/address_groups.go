package network

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// addressGroup is a set of addresses that rules of security groups name.
type addressGroup struct {
	standard
	Addresses []string // CIDRs without host bits
}

const addressGroupColumns = standardColumns + `, t.addresses`

func scanAddressGroup(r db.Row) (*addressGroup, error) {
	g := &addressGroup{}
	return g, r.Scan(g.scan(jsonOf(&g.Addresses))...)
}

func (g *addressGroup) doc() doc {
	d := g.common(doc{"name": g.Name, "addresses": emptyList(g.Addresses)})
	delete(d, "tags")
	return d
}

func addressGroupNotFound(id string) *fault.Error {
	return notFound("AddressGroupNotFound", "Address group %s could not be found.", id)
}

// addressGroups have no quota upstream either: nothing registers them with it (neutron/extensions/address_group.py).
func (s *Service) addressGroups() *resource {
	return &resource{name: "address_group", collection: "address_groups", path: "address-groups", table: "net_address_groups", notFound: addressGroupNotFound,
		shareable: "address_group", guarded: true, scope: sharedScope("address_group"),
		attrs: append(standardAttrs(plainName(), "no tags"),
			attr{name: "addresses", post: true, def: unset{}, convert: noneToList, validate: vSubnetList},
			attr{name: "shared", hidden: true}),
		load: loadAddressGroups, create: createAddressGroup, update: updateAddressGroup, remove: removeAddressGroup}
}

func loadAddressGroups(c *call, ids []string) ([]object, error) {
	return loadAll(c, ids, "net_address_groups", addressGroupColumns, scanAddressGroup)
}

// addressGroupActions are PUT /address-groups/{id}/add_addresses and remove_addresses. Upstream lets member actions pass without a rule, so that
// whoever sees a shared group may change it; the rule of changes is asked here.
func (s *Service) addressGroupActions() []api.Route {
	action := func(name string, do func(g *addressGroup, asked []string) error) api.Route {
		return api.Handle("PUT", "/v2.0/address-groups/{id}/"+name, api.Object(s.rule("update_address_group")), http.StatusOK,
			func(ctx context.Context, q *api.Request, in map[string]any) (api.JSON, error) {
				return s.changeAddresses(ctx, q, in, do)
			})
	}
	return []api.Route{action("add_addresses", (*addressGroup).add), action("remove_addresses", (*addressGroup).takeOut)}
}

func (s *Service) changeAddresses(ctx context.Context, q *api.Request, in map[string]any, do func(g *addressGroup, asked []string) error) (api.JSON, error) {
	q.Asked()
	asked, bad := addressesBody(in)
	r := s.res.addressGroups
	var out api.JSON
	err := s.o.DB.Write(ctx, func(tx *db.Tx) error {
		c := s.call(tx, q, q.Caller)
		o, shared, err := c.find(r, q.Path("id"))
		if err != nil {
			return err
		}
		t := c.target(r, o.std().ProjectID, false, o)
		if rule := s.rule("update_address_group"); !s.policy.Allowed(rule, c.creds, t) {
			return c.refused(r, t, rule)
		}
		if bad != nil {
			return bad
		}
		if err := c.lockAddressGroup(o.std().ID); err != nil {
			return err
		}
		if o, err = c.one(r, o.std().ID); err != nil {
			return err
		}
		g := o.(*addressGroup)
		if err := do(g, asked); err != nil {
			return err
		}
		if err := save(tx, "address_group", "net_address_groups", &g.standard, column{"addresses", jsonArg(g.Addresses)}); err != nil {
			return err
		}
		if err := c.wakeAddressGroup(g.ID); err != nil {
			return err
		}
		out, err = c.render(r, g, shared, nil)
		return err
	})
	return out, err
}

// lockAddressGroup keeps two changes of one group's addresses apart.
func (c *call) lockAddressGroup(id string) error {
	_, err := c.tx.Exec(`UPDATE net_address_groups SET rev = rev WHERE id = $1`, id)
	return err
}

// addressesBody reads {"addresses": [...]}; an address without a prefix length is one address.
func addressesBody(in map[string]any) ([]string, error) {
	l, ok := in["addresses"].([]any)
	if !ok {
		return nil, httpBadRequest("Unable to find a list of 'addresses' in request body")
	}
	return normalAddresses(l)
}

// normalAddresses are CIDRs without host bits, each once.
func normalAddresses(l []any) ([]string, error) {
	var out []string
	for _, x := range l {
		s, _ := x.(string)
		p, err := parseNetwork(s)
		if err != nil {
			return nil, badRequest("AddrFormatError", "invalid IPNetwork %s", str(x))
		}
		if n := p.Masked().String(); !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out, nil
}

// add puts addresses in; one that is there already refuses all.
func (g *addressGroup) add(asked []string) error {
	if there := addressesIn(g, asked, true); len(there) > 0 {
		return badRequest("AddressesAlreadyExist", "Addresses %s already exist in the address group %s.", schema.PyRepr(there), g.ID)
	}
	g.Addresses = append(slices.Clone(g.Addresses), asked...)
	return nil
}

// takeOut takes addresses out; one that is not there refuses all.
func (g *addressGroup) takeOut(asked []string) error {
	if missing := addressesIn(g, asked, false); len(missing) > 0 {
		return notFound("AddressesNotFound", "Addresses %s not found in the address group %s.", schema.PyRepr(missing), g.ID)
	}
	g.Addresses = slices.DeleteFunc(slices.Clone(g.Addresses), func(a string) bool { return slices.Contains(asked, a) })
	return nil
}

// addressesIn are those of the asked ones that the group has, or has not.
func addressesIn(g *addressGroup, asked []string, has bool) []any {
	known := map[string]bool{}
	for _, a := range g.Addresses {
		known[a] = true
	}
	var out []any
	for _, a := range asked {
		if known[a] == has {
			out = append(out, a)
		}
	}
	return out
}

func createAddressGroup(c *call, v values) (object, error) {
	addresses, err := normalAddresses(v.list("addresses"))
	if err != nil {
		return nil, err
	}
	g := &addressGroup{standard: newStandard(c.tx, v), Addresses: addresses}
	return g, insert(c.tx, "address_group", "net_address_groups", &g.standard, column{"addresses", jsonArg(g.Addresses)})
}

func updateAddressGroup(c *call, o object, v values) (object, error) {
	g := o.(*addressGroup)
	g.take(v)
	return g, save(c.tx, "address_group", "net_address_groups", &g.standard)
}

func removeAddressGroup(c *call, o object) error {
	g := o.(*addressGroup)
	// The lock waits for a rule that is about to name the group.
	if err := c.lockAddressGroup(g.ID); err != nil {
		return err
	}
	_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_security_group_rules WHERE remote_address_group_id = $1 LIMIT 1`, g.ID)
	if err == nil {
		return conflict("AddressGroupInUse", "Address group %s is in use on one or more security group rules.", g.ID)
	}
	if !errors.Is(err, db.ErrNotFound) {
		return err
	}
	if _, err := c.tx.Exec(`DELETE FROM net_rbac_policies WHERE object_type = 'address_group' AND object_id = $1`, g.ID); err != nil {
		return err
	}
	return erase(c.tx, "address_group", "net_address_groups", &g.standard)
}

// addressGroupOf refuses a rule that names an address group which the caller does not know, and keeps the group until the rule is there.
func (c *call) addressGroupOf(r *rule) error {
	if r.AddressGroupID == "" {
		return nil
	}
	if err := c.lockAddressGroup(r.AddressGroupID); err != nil {
		return err
	}
	_, _, err := c.find(c.s.res.addressGroups, r.AddressGroupID)
	return err
}

// wakeAddressGroup wakes the nodes with ports of groups whose rules name the address group.
func (c *call) wakeAddressGroup(id string) error {
	groups, err := db.All(c.tx, db.Value[string], `SELECT DISTINCT security_group_id FROM net_security_group_rules WHERE remote_address_group_id = $1`, id)
	for _, g := range groups {
		if err == nil {
			err = c.wakeGroup(g)
		}
	}
	return err
}

// addressGroupRBACInUse tells whether rules of a project that a policy opens the group to need that policy. The end of sharing with all is refused for
// the owner's rules, too (neutron/objects/rbac_db.py, _validate_rbac_policy_delete).
func (c *call) addressGroupRBACInUse(p *rbac) (bool, error) {
	_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_security_group_rules r JOIN net_address_groups g ON g.id = r.remote_address_group_id
		WHERE g.id = $1 AND ($2 = '*' OR r.project_id = $2 AND r.project_id <> g.project_id) AND NOT EXISTS (SELECT 1 FROM net_rbac_policies o
			WHERE o.object_type = 'address_group' AND o.object_id = g.id AND o.id <> $3 AND o.target_project IN ('*', r.project_id)) LIMIT 1`, p.ObjectID, p.Target, p.ID)
	if errors.Is(err, db.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
