package network

import (
	"errors"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// addressScope is a set of subnet pools whose addresses do not overlap.
type addressScope struct {
	standard
	IPVersion int64
}

const addressScopeColumns = standardColumns + `, t.ip_version`

func scanAddressScope(r db.Row) (*addressScope, error) {
	a := &addressScope{}
	return a, r.Scan(a.scan(&a.IPVersion)...)
}

func (a *addressScope) doc() doc {
	return doc{"id": a.ID, "name": a.Name, "tenant_id": a.ProjectID, "project_id": a.ProjectID, "ip_version": a.IPVersion, "shared": false}
}

func addressScopeNotFound(id string) *fault.Error {
	return notFound("AddressScopeNotFound", "Address scope %s could not be found.", id)
}

func (s *Service) addressScopes() *resource {
	return &resource{name: "address_scope", collection: "address_scopes", path: "address-scopes", table: "net_address_scopes", notFound: addressScopeNotFound,
		shareable: "address_scope", scope: sharedScope("address_scope"),
		filters: map[string]func(w *db.Where, c *call, values []string) error{"shared": sharedFilter("address_scope")},
		attrs: append(standardAttrs(plainName(), "no description", "no tags"),
			attr{name: "shared", post: true, put: true, def: false, convert: toBool, enforce: true},
			attr{name: "ip_version", post: true, required: true, convert: toInt, validate: vValues(int64(4), int64(6)), column: "t.ip_version", sort: true, kind: integer}),
		load: func(c *call, ids []string) ([]object, error) {
			return loadAll(c, ids, "net_address_scopes", addressScopeColumns, scanAddressScope)
		},
		create: createAddressScope, update: updateAddressScope, remove: removeAddressScope}
}

func createAddressScope(c *call, v values) (object, error) {
	a := &addressScope{standard: newStandard(c.tx, v), IPVersion: v.int("ip_version")}
	if err := insert(c.tx, "address_scope", "net_address_scopes", &a.standard, column{"ip_version", a.IPVersion}); err != nil {
		return nil, err
	}
	if v.bool("shared") {
		return a, c.share("address_scope", a.ID, a.ProjectID, "*", "access_as_shared")
	}
	return a, nil
}

func updateAddressScope(c *call, o object, v values) (object, error) {
	a := o.(*addressScope)
	a.take(v)
	if v.has("shared") {
		shared, err := c.sharedWith("address_scope", a.ID, "*")
		if err != nil {
			return nil, err
		}
		if shared && !v.bool("shared") {
			return nil, badRequest("AddressScopeUpdateError", "Unable to update address scope %s : Shared address scope can't be unshared.", a.ID)
		}
		if v.bool("shared") {
			if err := c.share("address_scope", a.ID, a.ProjectID, "*", "access_as_shared"); err != nil {
				return nil, err
			}
		}
	}
	return a, save(c.tx, "address_scope", "net_address_scopes", &a.standard)
}

func removeAddressScope(c *call, o object) error {
	a := o.(*addressScope)
	_, err := db.One(c.tx, db.Value[int], `SELECT 1 FROM net_subnetpools WHERE address_scope_id = $1 LIMIT 1`, a.ID)
	if err == nil {
		return conflict("AddressScopeInUse", "Unable to complete operation on address scope %s. There are one or more subnet pools in use on the address scope.", a.ID)
	}
	if !errors.Is(err, db.ErrNotFound) {
		return err
	}
	if _, err := c.tx.Exec(`DELETE FROM net_rbac_policies WHERE object_type = 'address_scope' AND object_id = $1`, a.ID); err != nil {
		return err
	}
	return erase(c.tx, "address_scope", "net_address_scopes", &a.standard)
}

func (s *Service) subnetPools() *resource {
	return &resource{name: "subnetpool", collection: "subnetpools", table: "net_subnetpools", notFound: subnetPoolNotFound, attrs: subnetPoolAttrs(),
		shareable: "subnetpool", scope: sharedScope("subnetpool"), quota: "subnetpool",
		filters: map[string]func(w *db.Where, c *call, values []string) error{"shared": sharedFilter("subnetpool")},
		load: func(c *call, ids []string) ([]object, error) {
			return loadAll(c, ids, "net_subnetpools", subnetPoolColumns, scanSubnetPool)
		},
		create: createSubnetPool, update: updateSubnetPool, remove: removeSubnetPool}
}

func rbacNotFound(id string) *fault.Error {
	return notFound("RbacPolicyNotFound", "RBAC policy of type %s with ID None not found", id)
}

// rbacObjectNotFound is the answer about an object that the caller may not share.
func (s *Service) rbacObjectNotFound(objectType, id string) *fault.Error {
	switch objectType {
	case "network":
		return networkNotFound(id)
	case "subnetpool":
		return subnetPoolNotFound(id)
	case "address_scope":
		return addressScopeNotFound(id)
	case "qos_policy":
		return qosPolicyNotFound(id)
	case "address_group":
		return addressGroupNotFound(id)
	}
	return securityGroupNotFound(id)
}
