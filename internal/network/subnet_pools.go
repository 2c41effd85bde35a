package network

import (
	"errors"
	"math"
	"net/netip"
	"slices"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// subnetPool hands out prefixes for subnets.
type subnetPool struct {
	standard
	IPVersion                                    int64
	Prefixes                                     []netip.Prefix
	DefaultPrefixlen, MinPrefixlen, MaxPrefixlen int64
	DefaultQuota                                 int64 // -1: none
	Default                                      bool
	ScopeID                                      string
}

const subnetPoolColumns = standardColumns + `, t.ip_version, t.prefixes, t.default_prefixlen, t.min_prefixlen, t.max_prefixlen, t.default_quota, t.is_default, t.address_scope_id`

func scanSubnetPool(r db.Row) (*subnetPool, error) {
	p := &subnetPool{}
	return p, r.Scan(p.scan(&p.IPVersion, jsonOf(&p.Prefixes), &p.DefaultPrefixlen, &p.MinPrefixlen, &p.MaxPrefixlen, &p.DefaultQuota, &p.Default, &p.ScopeID)...)
}

func (p *subnetPool) columns() []column {
	return []column{{"ip_version", p.IPVersion}, {"prefixes", jsonArg(p.Prefixes)}, {"default_prefixlen", p.DefaultPrefixlen}, {"min_prefixlen", p.MinPrefixlen},
		{"max_prefixlen", p.MaxPrefixlen}, {"default_quota", p.DefaultQuota}, {"is_default", p.Default}, {"address_scope_id", p.ScopeID}}
}

func (p *subnetPool) doc() doc {
	var quota any
	if p.DefaultQuota >= 0 {
		quota = p.DefaultQuota
	}
	// The prefix lengths are texts on the wire, as upstream's _make_subnetpool_dict writes them.
	return p.common(doc{"name": p.Name, "ip_version": p.IPVersion, "prefixes": emptyList(p.Prefixes), "default_prefixlen": joinInts([]int64{p.DefaultPrefixlen}),
		"min_prefixlen": joinInts([]int64{p.MinPrefixlen}), "max_prefixlen": joinInts([]int64{p.MaxPrefixlen}), "default_quota": quota, "is_default": p.Default,
		"address_scope_id": orNull(p.ScopeID), "shared": false})
}

func subnetPoolAttrs() []attr {
	number := func(name, column string) attr {
		return attr{name: name, post: true, put: true, def: unset{}, convert: toInt, validate: vNonNegative, column: column, sort: true, kind: integer}
	}
	return append(standardAttrs(attr{name: "name", post: true, put: true, required: true, validate: vNotEmptyString, column: "t.name", sort: true}),
		attr{name: "prefixes", post: true, put: true, required: true, validate: vSubnetList},
		number("default_quota", "t.default_quota"),
		attr{name: "ip_version", column: "t.ip_version", sort: true, kind: integer},
		number("default_prefixlen", "t.default_prefixlen"), number("min_prefixlen", "t.min_prefixlen"), number("max_prefixlen", "t.max_prefixlen"),
		attr{name: "is_default", post: true, put: true, def: false, convert: toBool, enforce: true, column: "t.is_default", sort: true, kind: boolean},
		attr{name: "shared", post: true, def: false, convert: toBool, enforce: true},
		attr{name: "address_scope_id", post: true, put: true, def: unset{}, validate: vUUIDOrNone, column: "t.address_scope_id", sort: true, kind: nullable})
}

func subnetPoolNotFound(id string) *fault.Error {
	return notFound("SubnetPoolNotFound", "Subnet pool %s could not be found.", id)
}

func (c *call) defaultPool(version int64) (*subnetPool, error) {
	w := &db.Where{}
	w.Add("t.is_default").Add("t.ip_version = ?", version)
	c.scoped(c.s.res.subnetPools, w)
	p, err := db.One(c.tx, scanSubnetPool, `SELECT `+subnetPoolColumns+` FROM net_subnetpools t`+w.SQL(), w.Args()...)
	if errors.Is(err, db.ErrNotFound) {
		return nil, nil
	}
	return p, err
}

func (c *call) scopeOfPool(id string) (string, error) {
	if id == "" {
		return "", nil
	}
	s, err := db.One(c.tx, db.Value[string], `SELECT address_scope_id FROM net_subnetpools WHERE id = $1`, id)
	if errors.Is(err, db.ErrNotFound) {
		return "", nil
	}
	return s, err
}

func createSubnetPool(c *call, v values) (object, error) {
	p := &subnetPool{standard: newStandard(c.tx, v), DefaultQuota: prefixLength(v, "default_quota", -1), Default: v.bool("is_default"), ScopeID: v.str("address_scope_id")}
	if err := p.setPrefixes(v.strings("prefixes")); err != nil {
		return nil, err
	}
	p.MinPrefixlen, p.MaxPrefixlen = 8, 32
	if p.IPVersion == 6 {
		p.MinPrefixlen, p.MaxPrefixlen = 64, 128
	}
	if err := p.setBounds(v); err != nil {
		return nil, err
	}
	if err := c.checkPool(p, p.Default); err != nil {
		return nil, err
	}
	if err := insert(c.tx, "subnetpool", "net_subnetpools", &p.standard, p.columns()...); err != nil {
		return nil, err
	}
	if v.bool("shared") {
		return p, c.share("subnetpool", p.ID, p.ProjectID, "*", "access_as_shared")
	}
	return p, nil
}

func (p *subnetPool) setBounds(v values) error {
	p.MinPrefixlen = prefixLength(v, "min_prefixlen", p.MinPrefixlen)
	p.MaxPrefixlen = prefixLength(v, "max_prefixlen", p.MaxPrefixlen)
	if p.DefaultPrefixlen == 0 {
		p.DefaultPrefixlen = p.MinPrefixlen
	}
	p.DefaultPrefixlen = prefixLength(v, "default_prefixlen", p.DefaultPrefixlen)
	bounds := func(a string, x int64, b string, y int64) error {
		return badRequest("IllegalSubnetPoolPrefixBounds", "Illegal prefix bounds: %s=%d, %s=%d.", a, x, b, y)
	}
	most := int64(32)
	if p.IPVersion == 6 {
		most = 128
	}
	switch {
	case p.MinPrefixlen < 0:
		return badRequest("UnsupportedMinSubnetPoolPrefix", "Prefix '%d' not supported in IPv4 pool.", p.MinPrefixlen)
	case p.MinPrefixlen > p.MaxPrefixlen:
		return bounds("min_prefixlen", p.MinPrefixlen, "max_prefixlen", p.MaxPrefixlen)
	case p.MaxPrefixlen > most:
		return bounds("max_prefixlen", p.MaxPrefixlen, "ip_version_max", most)
	case p.DefaultPrefixlen < p.MinPrefixlen:
		return bounds("default_prefixlen", p.DefaultPrefixlen, "min_prefixlen", p.MinPrefixlen)
	case p.DefaultPrefixlen > p.MaxPrefixlen:
		return bounds("default_prefixlen", p.DefaultPrefixlen, "max_prefixlen", p.MaxPrefixlen)
	}
	return nil
}

// setPrefixes reads and merges the prefixes.
func (p *subnetPool) setPrefixes(l []string) error {
	if len(l) == 0 {
		return badRequest("EmptySubnetPoolPrefixList", "Empty subnet pool prefix list.")
	}
	var all []netip.Prefix
	for _, s := range l {
		x, err := parseNetwork(s)
		if err != nil {
			return invalidInput("%s is not in a CIDR format", s)
		}
		all = append(all, x.Masked())
		if bitsVersion(x) != bitsVersion(all[0]) {
			return badRequest("PrefixVersionMismatch", "Cannot mix IPv4 and IPv6 prefixes in a subnet pool.")
		}
	}
	p.IPVersion = int64(bitsVersion(all[0]))
	p.Prefixes = compact(all)
	return nil
}

// compact drops prefixes inside of others and joins neighbours, as netaddr's IPSet does.
func compact(l []netip.Prefix) []netip.Prefix {
	less := func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	}
	l = slices.Clone(l)
	for {
		slices.SortFunc(l, less)
		var out []netip.Prefix
		for _, p := range l {
			if n := len(out); n > 0 {
				last := out[n-1]
				if last.Overlaps(p) {
					continue
				}
				if last.Bits() == p.Bits() && p.Bits() > 0 {
					if up := netip.PrefixFrom(last.Addr(), last.Bits()-1); up.Masked() == up && up.Contains(p.Addr()) {
						out[n-1] = up
						continue
					}
				}
			}
			out = append(out, p)
		}
		if len(out) == len(l) {
			return out
		}
		l = out
	}
}

// checkPool asks what concerns other pools: one default a family, and no overlap inside an address scope.
func (c *call) checkPool(p *subnetPool, becomesDefault bool) error {
	if becomesDefault {
		other, err := c.defaultPool(p.IPVersion)
		if err != nil {
			return err
		}
		if other != nil && other.ID != p.ID {
			return invalidInput("A default subnetpool for this IP family has already been set. Only one default may exist per IP family")
		}
	}
	if p.ScopeID == "" {
		return nil
	}
	o, shared, err := c.find(c.s.res.addressScopes, p.ScopeID)
	if err != nil {
		return err
	}
	scope := o.(*addressScope)
	if scope.ProjectID != c.projectID && !c.admin && !shared {
		return badRequest("IllegalSubnetPoolAssociationToAddressScope", "Illegal subnetpool association: subnetpool %s cannot be associated with address scope %s.", p.ID, p.ScopeID)
	}
	if scope.IPVersion != p.IPVersion {
		return badRequest("IllegalSubnetPoolIpVersionAssociationToAddressScope",
			"Illegal subnetpool association: subnetpool %s cannot associate with address scope %s because subnetpool ip_version is not %d.", p.ID, p.ScopeID, scope.IPVersion)
	}
	others, err := db.All(c.tx, scanSubnetPool, `SELECT `+subnetPoolColumns+` FROM net_subnetpools t WHERE t.address_scope_id = $1 AND t.id <> $2`, p.ScopeID, p.ID)
	if err != nil {
		return err
	}
	for _, other := range others {
		for _, a := range other.Prefixes {
			for _, b := range p.Prefixes {
				if a.Overlaps(b) {
					return conflict("AddressScopePrefixConflict", "Failed to associate address scope: subnetpools within an address scope must have unique prefixes.")
				}
			}
		}
	}
	return nil
}

func updateSubnetPool(c *call, o object, v values) (object, error) {
	p := o.(*subnetPool)
	wasDefault, wasScope := p.Default, p.ScopeID
	p.take(v)
	if v.has("prefixes") {
		old := p.Prefixes
		oldVersion := p.IPVersion
		if err := p.setPrefixes(v.strings("prefixes")); err != nil {
			return nil, err
		}
		for _, x := range old {
			if p.IPVersion != oldVersion || !slices.ContainsFunc(p.Prefixes, func(n netip.Prefix) bool { return n.Bits() <= x.Bits() && n.Contains(x.Addr()) }) {
				return nil, badRequest("IllegalSubnetPoolPrefixUpdate", "Illegal update to prefixes: Existing prefixes must be a subset of the new prefixes.")
			}
		}
	}
	if err := p.setBounds(v); err != nil {
		return nil, err
	}
	if v.isSet("default_quota") {
		p.DefaultQuota = v.int("default_quota")
	}
	if v.has("is_default") {
		p.Default = v.bool("is_default")
	}
	if v.has("address_scope_id") {
		p.ScopeID = v.str("address_scope_id")
	}
	if err := c.checkPool(p, p.Default && !wasDefault); err != nil {
		return nil, err
	}
	if err := save(c.tx, "subnetpool", "net_subnetpools", &p.standard, p.columns()...); err != nil {
		return nil, err
	}
	if p.ScopeID == wasScope {
		return p, nil
	}
	// Networks show the scope of their subnets.
	nets, err := db.All(c.tx, db.Value[string], `SELECT DISTINCT network_id FROM net_subnets WHERE subnetpool_id = $1`, p.ID)
	for _, n := range nets {
		if err == nil {
			err = bump(c.tx, "net_networks", n, false)
		}
	}
	return p, err
}

func removeSubnetPool(c *call, o object) error {
	p := o.(*subnetPool)
	_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_subnets WHERE subnetpool_id = $1 LIMIT 1`, p.ID)
	if err == nil {
		return badRequest("SubnetPoolDeleteError", "Unable to delete subnet pool: Subnet pool has existing allocations.")
	}
	if !errors.Is(err, db.ErrNotFound) {
		return err
	}
	if _, err := c.tx.Exec(`DELETE FROM net_rbac_policies WHERE object_type = 'subnetpool' AND object_id = $1`, p.ID); err != nil {
		return err
	}
	return erase(c.tx, "subnetpool", "net_subnetpools", &p.standard)
}

// allocatePrefix takes the asked CIDR or the lowest free prefix of the asked length out of a pool.
func (c *call) allocatePrefix(p *subnetPool, s *subnet, asked netip.Prefix, v values) (netip.Prefix, error) {
	// The row lock makes allocations of one pool wait for each other.
	if _, err := c.tx.Exec(`UPDATE net_subnetpools SET ip_version = ip_version WHERE id = $1`, p.ID); err != nil {
		return asked, err
	}
	bits := prefixLength(v, "prefixlen", p.DefaultPrefixlen)
	if asked.IsValid() {
		bits = int64(asked.Bits())
	}
	if bits > p.MaxPrefixlen {
		return asked, badRequest("MaxPrefixSubnetAllocationError", "Unable to allocate subnet with prefix length %d, maximum allowed prefix is %d.", bits, p.MaxPrefixlen)
	}
	if bits < p.MinPrefixlen {
		return asked, badRequest("MinPrefixSubnetAllocationError", "Unable to allocate subnet with prefix length %d, minimum allowed prefix is %d.", bits, p.MinPrefixlen)
	}
	var used []netip.Prefix
	units := 0.0
	unit := 32
	if p.IPVersion == 6 {
		unit = 64
	}
	err := c.tx.Each(func(r db.Row) error {
		var cidr, project string
		if err := r.Scan(&cidr, &project); err != nil {
			return err
		}
		x, err := netip.ParsePrefix(cidr)
		if err != nil {
			return err
		}
		used = append(used, x)
		if project == s.ProjectID {
			units += math.Pow(2, float64(unit-x.Bits()))
		}
		return nil
	}, `SELECT cidr, project_id FROM net_subnets WHERE subnetpool_id = $1`, p.ID)
	if err != nil {
		return asked, err
	}
	if p.DefaultQuota > 0 && units+math.Pow(2, float64(unit-int(bits))) > float64(p.DefaultQuota) {
		return asked, conflict("SubnetPoolQuotaExceeded", "Per-tenant subnet pool prefix quota exceeded.")
	}
	if asked.IsValid() {
		inside := slices.ContainsFunc(p.Prefixes, func(x netip.Prefix) bool { return x.Bits() <= asked.Bits() && x.Contains(asked.Addr()) })
		if !inside || slices.ContainsFunc(used, asked.Overlaps) {
			return asked, conflict("SubnetAllocationError", "Failed to allocate subnet: Cannot allocate requested subnet from the available set of prefixes.")
		}
		return asked, nil
	}
	if free, ok := freePrefix(p.Prefixes, used, int(bits)); ok {
		return free, nil
	}
	return asked, conflict("SubnetAllocationError", "Failed to allocate subnet: Insufficient prefix space to allocate subnet size /%d.", bits)
}

// freePrefix is the lowest prefix of that length inside of prefixes that overlaps none in use.
func freePrefix(prefixes, used []netip.Prefix, bits int) (netip.Prefix, bool) {
	slices.SortFunc(used, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	for _, p := range prefixes {
		if p.Bits() > bits {
			continue
		}
		at := netip.PrefixFrom(p.Addr(), bits)
		end := lastIP(p)
		for at.IsValid() && at.Addr().IsValid() && at.Addr().Compare(end) <= 0 {
			i := slices.IndexFunc(used, at.Overlaps)
			if i < 0 {
				return at, true
			}
			above := lastIP(used[i])
			if l := lastIP(at); l.Compare(above) > 0 {
				above = l
			}
			next := above.Next()
			if !next.IsValid() {
				break
			}
			at = netip.PrefixFrom(next, bits)
			if at.Masked() != at {
				last := lastIP(at).Next()
				if !last.IsValid() {
					break
				}
				at = netip.PrefixFrom(last, bits)
			}
		}
	}
	return netip.Prefix{}, false
}
