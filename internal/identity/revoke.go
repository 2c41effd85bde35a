package identity

import (
	"context"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// revocation is a line of OS-REVOKE's list.
type revocation struct {
	audit, user, project, domain string
}

func addRevocation(tx *db.Tx, v revocation) error {
	tx.Note(db.Change{Kind: "revocation", ID: v.audit + v.user + v.project + v.domain, Action: "create"}) // it names one of them
	_, err := tx.Exec(`INSERT INTO identity_revocations (id, audit_id, user_id, project_id, domain_id, revoked_at) VALUES ($1,$2,$3,$4,$5,$6)`,
		newID(), v.audit, v.user, v.project, v.domain, tx.NowMicros())
	return err
}

// revokeAudit voids one token. Those made from it stay good, as upstream's do.
func revokeAudit(tx *db.Tx, audit string) error {
	// Tokens do not live that long; what revoked them is of no use any more.
	if _, err := tx.Exec(`DELETE FROM identity_revocations WHERE revoked_at < $1`, tx.NowMicros()-30*24*3600*1e6); err != nil {
		return err
	}
	return addRevocation(tx, revocation{audit: audit})
}

// revokeUser voids all tokens of a user made so far, those of the same second too.
func revokeUser(tx *db.Tx, id string) error {
	if err := voidUser(tx, id); err != nil {
		return err
	}
	return addRevocation(tx, revocation{user: id})
}

func voidUser(tx *db.Tx, id string) error {
	_, err := tx.Exec(`UPDATE identity_users SET epoch = epoch + 1 WHERE id = $1`, id)
	return err
}

func voidProject(tx *db.Tx, id string) error {
	_, err := tx.Exec(`UPDATE identity_projects SET epoch = epoch + 1 WHERE id = $1`, id)
	return err
}

// revokeProject voids all tokens scoped to a project; for a domain also those of its users and projects.
func revokeProject(tx *db.Tx, id string, domain bool) error {
	if err := voidProject(tx, id); err != nil {
		return err
	}
	if domain {
		return addRevocation(tx, revocation{domain: id})
	}
	return addRevocation(tx, revocation{project: id})
}

func (s *Service) listRevocations(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	if err := r.Enforce("identity:list_revoke_events", nil); err != nil {
		return nil, err
	}
	events := []doc{}
	since, err := revokedSince(r.Query().Get("since"))
	if err != nil {
		return nil, err
	}
	err = s.read(ctx, func(tx *db.Tx) error {
		events = []doc{}
		return tx.Each(func(row db.Row) error {
			var v revocation
			var at int64
			if err := row.Scan(&v.audit, &v.user, &v.project, &v.domain, &at); err != nil {
				return err
			}
			e := doc{"issued_before": isoTime(at), "revoked_at": isoTime(at)}
			for name, value := range map[string]string{"audit_id": v.audit, "user_id": v.user, "project_id": v.project, "domain_id": v.domain} {
				if value != "" {
					e[name] = value
				}
			}
			events = append(events, e)
			return nil
		}, `SELECT audit_id, user_id, project_id, domain_id, revoked_at FROM identity_revocations WHERE revoked_at > $1 ORDER BY revoked_at, id`, since)
	})
	return doc{"events": events, "links": doc{"next": nil, "self": base(r) + "/OS-REVOKE/events", "previous": nil}}, err
}

// revokedSince reads the since parameter.
func revokedSince(v string) (int64, error) {
	if v == "" {
		return 0, nil
	}
	t, err := parseTime(v)
	if err != nil {
		return 0, fault.BadRequest("invalidate date format %s", v).Because(err)
	}
	return t.UnixMicro(), nil
}
