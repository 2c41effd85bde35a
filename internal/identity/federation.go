package identity

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// insertProvider makes an identity provider, and a domain for its users when none is named.
func (s *Service) insertProvider(tx *db.Tx, d doc) error {
	id := str(d, "id")
	if n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM identity_providers WHERE id = $1`, id); err != nil {
		return err
	} else if n > 0 {
		return conflict("identity_provider", "Duplicate entry: "+id)
	}
	if domain := str(d, "domain_id"); domain != "" {
		if _, err := s.getDomain(tx, domain); err != nil {
			return err
		}
	} else {
		domain := newID()
		p := doc{"id": domain, "name": domain, "is_domain": true, "description": "Auto generated federated domain for Identity Provider: " + id}
		completeProject(p)
		if err := s.project.insert(tx, p); err != nil {
			return err
		}
		d["domain_id"] = domain
	}
	if err := setRemoteIDs(tx, id, d); err != nil {
		return err
	}
	if _, given := d["authorization_ttl"]; !given {
		d["authorization_ttl"] = nil
	}
	if err := s.fed.provider.insert(tx, d); err != nil {
		if db.IsConflict(err, "") {
			return conflict("identity_provider", "Duplicate entry: "+id)
		}
		return err
	}
	return newEpoch(tx, `UPDATE identity_providers SET epoch = $1 WHERE id = $2`, id)
}

// newEpoch runs an update that sets an epoch, which no earlier one equals.
func newEpoch(tx *db.Tx, update string, args ...any) error {
	rev, err := tx.NextRevision()
	if err != nil {
		return err
	}
	_, err = tx.Exec(update, append([]any{rev}, args...)...)
	return err
}

// setRemoteIDs stores the ids by which a provider is known from outside; each is one provider's only.
func setRemoteIDs(tx *db.Tx, id string, d doc) error {
	list, _ := d["remote_ids"].([]any)
	if _, err := tx.Exec(`DELETE FROM identity_provider_remote_ids WHERE idp_id = $1`, id); err != nil {
		return err
	}
	ids := []string{}
	for _, e := range list {
		if v, ok := e.(string); ok {
			ids = append(ids, v)
		}
	}
	slices.Sort(ids)
	for _, v := range ids {
		if _, err := tx.Exec(`INSERT INTO identity_provider_remote_ids (remote_id, idp_id) VALUES ($1, $2)`, v, id); err != nil {
			if db.IsConflict(err, "") {
				return conflict("identity_provider", "Duplicate remote ID: "+v)
			}
			return err
		}
	}
	d["remote_ids"] = ids
	return nil
}

// changeProvider prepares an update. Disabling ends the tokens of everybody who came by the provider, for good.
func (s *Service) changeProvider(_ context.Context, tx *db.Tx, _ *api.Request, d, old doc) error {
	id := str(old, "id")
	if _, given := d["remote_ids"]; given {
		if err := setRemoteIDs(tx, id, d); err != nil {
			return err
		}
	}
	if d["enabled"] == false && truth(old, "enabled") {
		if err := newEpoch(tx, `UPDATE identity_providers SET epoch = $1 WHERE id = $2`, id); err != nil {
			return err
		}
	}
	if ttl, given := d["authorization_ttl"]; given {
		// Memberships that are there follow, as upstream's do, which reads the time to live when it asks.
		_, err := tx.Exec(`UPDATE identity_expiring_members SET expires_at = last_verified + $1 WHERE idp_id = $2`, s.membershipTime(ttl), id)
		return err
	}
	return nil
}

// membershipTime is for how long (in microseconds) a group membership lasts that a provider's mapping gives; 0: for the token alone.
func (s *Service) membershipTime(ttl any) int64 {
	var minutes int64
	switch n := ttl.(type) {
	case json.Number:
		minutes, _ = n.Int64()
	case int64:
		minutes = n
	}
	if minutes == 0 {
		return s.o.Conf.Federation.AuthorizationTTL.Microseconds()
	}
	return minutes * 60 * 1e6
}

// clearProvider removes what hangs on an identity provider. Its users stay, as upstream's do, and nobody can become them any more.
func clearProvider(tx *db.Tx, id string) error {
	for _, table := range []string{"identity_provider_remote_ids", "identity_protocols", "identity_federated_users", "identity_expiring_members"} {
		if _, err := tx.Exec(`DELETE FROM `+table+` WHERE idp_id = $1`, id); err != nil {
			return err
		}
	}
	return nil
}

// removeProvidersOf deletes the identity providers of a domain that is deleted.
func (s *Service) removeProvidersOf(tx *db.Tx, domain string) error {
	ids, err := db.All(tx, db.Value[string], `SELECT id FROM identity_providers WHERE domain_id = $1 ORDER BY id`, domain)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := clearProvider(tx, id); err != nil {
			return err
		}
		if err := s.fed.provider.remove(tx, id); err != nil {
			return err
		}
	}
	return nil
}

// protocol is how an identity provider is talked to: by which mapping its users are known.
type protocol struct {
	provider, id, mapping string
	remoteID              any // a text, or nil
}

func readProtocols(tx *db.Tx, w *db.Where) ([]protocol, error) {
	return db.All(tx, func(r db.Row) (p protocol, err error) {
		var remote string
		if err = r.Scan(&p.provider, &p.id, &p.mapping, &remote); err == nil && remote != "" {
			err = json.Unmarshal([]byte(remote), &p.remoteID)
		}
		return p, err
	}, `SELECT idp_id, id, mapping_id, remote_id_attribute FROM identity_protocols`+w.SQL()+` ORDER BY idp_id, id`, w.Args()...)
}

func getProtocol(tx *db.Tx, provider, id string) (protocol, error) {
	all, err := readProtocols(tx, (&db.Where{}).Add("idp_id = ? AND id = ?", provider, id))
	if err == nil && len(all) == 0 {
		err = protocolNotFound(provider, id)
	}
	if err != nil {
		return protocol{}, err
	}
	return all[0], nil
}

func protocolNotFound(provider, id string) *fault.Error {
	return fault.NotFound("Could not find federated protocol %s for Identity Provider: %s.", id, provider)
}

// mappingExists refuses a protocol whose mapping is not there.
func (s *Service) mappingExists(tx *db.Tx, id string) error {
	m, err := s.fed.mapping.find(tx, id)
	if err == nil && m == nil {
		return fault.BadRequest("Invalid mapping id: %s", id)
	}
	return err
}

func (p protocol) storedRemoteID() (string, error) {
	if p.remoteID == nil {
		return "", nil
	}
	b, err := json.Marshal(p.remoteID)
	return string(b), err
}

func (s *Service) insertProtocol(tx *db.Tx, p protocol) error {
	if err := s.mappingExists(tx, p.mapping); err != nil {
		return err
	}
	if _, err := s.fed.provider.get(tx, p.provider); err != nil {
		return err
	}
	remote, err := p.storedRemoteID()
	if err != nil {
		return err
	}
	if _, err := tx.Exec(`INSERT INTO identity_protocols (idp_id, id, mapping_id, remote_id_attribute) VALUES ($1,$2,$3,$4)`, p.provider, p.id, p.mapping, remote); err != nil {
		if db.IsConflict(err, "") {
			return conflict("federation_protocol", "Duplicate entry found with ID "+p.id)
		}
		return err
	}
	return newEpoch(tx, `UPDATE identity_protocols SET epoch = $1 WHERE idp_id = $2 AND id = $3`, p.provider, p.id)
}

func (s *Service) changeProtocol(tx *db.Tx, provider, id string, d doc) (protocol, error) {
	if m := str(d, "mapping_id"); m != "" {
		if err := s.mappingExists(tx, m); err != nil {
			return protocol{}, err
		}
	}
	p, err := getProtocol(tx, provider, id)
	if err != nil {
		return p, err
	}
	if m := str(d, "mapping_id"); m != "" {
		p.mapping = m
	}
	if v, given := d["remote_id_attribute"]; given {
		p.remoteID = v
	}
	remote, err := p.storedRemoteID()
	if err != nil {
		return p, err
	}
	_, err = tx.Exec(`UPDATE identity_protocols SET mapping_id = $1, remote_id_attribute = $2 WHERE idp_id = $3 AND id = $4`, p.mapping, remote, provider, id)
	return p, err
}

func removeProtocol(tx *db.Tx, provider, id string) error {
	if _, err := getProtocol(tx, provider, id); err != nil {
		return err
	}
	for _, q := range []string{`DELETE FROM identity_protocols WHERE idp_id = $1 AND id = $2`, `DELETE FROM identity_federated_users WHERE idp_id = $1 AND protocol_id = $2`} {
		if _, err := tx.Exec(q, provider, id); err != nil {
			return err
		}
	}
	return nil
}

// closeProtocols ends the tokens that came by a mapping's protocols, for good: a mapping of the same id may come again.
func closeProtocols(tx *db.Tx, mapping string) error {
	return newEpoch(tx, `UPDATE identity_protocols SET epoch = $1 WHERE mapping_id = $2`, mapping)
}
