package identity

import (
	"errors"
	"slices"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// resolveTrust gives a session the roles that its trust delegates.
func (s *Service) resolveTrust(tx *db.Tx, se *session) error {
	trust, err := s.liveTrust(tx, se.TrustID, tx.NowMicros())
	if fault.Is(err, 404) {
		return refused("trust %s has ended", se.TrustID)
	}
	if err != nil {
		return err
	}
	if str(trust, "trustee_user_id") != se.UserID {
		return forbidden(refused("user %s is not the trustee", se.UserID))
	}
	if str(trust, "project_id") != se.ProjectID {
		return refused("trust %s is not about the project", se.TrustID)
	}
	t := &trustScope{id: se.TrustID, trustor: str(trust, "trustor_user_id"), trustee: se.UserID, impersonation: truth(trust, "impersonation")}
	if t.trustorAccount, err = readAccount(tx, t.trustor); err != nil {
		return err
	}
	if !t.trustorAccount.domainEnabled {
		return refused("the trustor's domain is disabled")
	}
	if !t.trustorAccount.enabled {
		return forbidden(refused("the trustor is disabled"))
	}
	se.trust = t
	if se.ProjectID == "" {
		return nil
	}
	above, err := s.pedigree(tx, trust)
	if fault.Is(err, 404) {
		return refused("a trust that %s was redelegated from has ended", se.TrustID)
	}
	if err != nil {
		return err
	}
	for _, a := range above {
		t.above = append(t.above, str(a, "trustor_user_id"))
	}
	origin := append([]doc{trust}, above...)[len(above)]
	ids := roleIDs(trust)
	wanted, err := expandRoles(tx, ids, true)
	if err != nil {
		return err
	}
	has, err := effectiveRoles(tx, str(origin, "trustor_user_id"), scope{project: se.ProjectID}, true)
	if err != nil {
		return err
	}
	for _, r := range wanted {
		if !slices.Contains(has, r) {
			return forbidden(refused("the trustor has role %s no longer", r.Name))
		}
	}
	for _, id := range ids {
		if !slices.ContainsFunc(has, func(r roleRef) bool { return r.ID == id }) {
			return forbidden(refused("there is no role %s any more", id))
		}
	}
	if se.roles, err = expandRoles(tx, ids, false); err != nil {
		return err
	}
	shown := make([]string, len(se.roles))
	for i, r := range se.roles {
		shown[i] = r.ID
	}
	var w db.Where
	w.In("id", shown)
	t.roles, err = s.role.all(tx, &w)
	return err
}

// pedigree are the trusts that one was redelegated from, nearest first. All must live, and nobody in them be disabled, nor anybody's domain: each passed
// on what was given to it (keystone/trust/core.py, get_trust; keystone/identity/core.py, assert_user_enabled).
func (s *Service) pedigree(tx *db.Tx, trust doc) (above []doc, err error) {
	for id := str(trust, "redelegated_trust_id"); id != ""; id = str(trust, "redelegated_trust_id") {
		if int64(len(above)) > s.maxRedelegation() {
			return nil, forbidden(refused("the chain of trust %s is too long", str(trust, "id")))
		}
		if trust, err = s.liveTrust(tx, id, tx.NowMicros()); err != nil {
			return nil, err
		}
		for _, member := range []string{"trustor_user_id", "trustee_user_id"} {
			agent, err := readAccount(tx, str(trust, member))
			if err != nil && !errors.Is(err, errRefused) {
				return nil, err
			}
			if !agent.enabled || !agent.domainEnabled { // upstream does not look at the domain here, only at the last trustor's
				return nil, forbidden(refused("one of the trust's agents, or its domain, is disabled or deleted"))
			}
		}
		above = append(above, trust)
	}
	return above, nil
}

// roleIDs are the ids in a document's list of roles.
func roleIDs(d doc) []string {
	var ids []string
	list, _ := d["roles"].([]any)
	for _, e := range list {
		if m, ok := e.(map[string]any); ok {
			ids = append(ids, str(m, "id"))
		}
	}
	return ids
}

// liveTrust reads a trust that is neither deleted nor over.
func (s *Service) liveTrust(tx *db.Tx, id string, now int64) (doc, error) {
	live, err := db.One(tx, func(r db.Row) (bool, error) {
		var deleted, expires int64
		err := r.Scan(&deleted, &expires)
		return deleted == 0 && (expires == 0 || now <= expires), err
	}, `SELECT deleted_at, expires_at FROM identity_trusts WHERE id = $1`, id)
	if err == db.ErrNotFound || err == nil && !live {
		return nil, s.trust.notFound(id)
	}
	if err != nil {
		return nil, err
	}
	return s.trust.get(tx, id)
}

// resolveAppCred gives a session the roles of its application credential that the user still has.
func (s *Service) resolveAppCred(tx *db.Tx, se *session) error {
	d, err := s.appCred.find(tx, se.AppCredID)
	if err != nil {
		return err
	}
	if d == nil || str(d, "user_id") != se.UserID || str(d, "project_id") != se.ProjectID {
		return refused("there is no application credential %s", se.AppCredID)
	}
	se.appCred = &appCredScope{id: str(d, "id"), name: str(d, "name"), unrestricted: truth(d, "unrestricted")}
	if rules, ok := d["access_rules"].([]any); ok {
		se.appCred.accessRules, se.appCred.restrictedBy = rules, true
	}
	has, err := effectiveRoles(tx, se.UserID, scope{project: se.ProjectID}, false)
	if err != nil {
		return err
	}
	ids := roleIDs(d)
	for _, r := range has {
		if slices.Contains(ids, r.ID) {
			se.roles = append(se.roles, r)
		}
	}
	return nil
}
