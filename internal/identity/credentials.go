package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

func (s *Service) credentialRoutes() []api.Route {
	o := api.Object
	const ec2 = "/v3/users/{user_id}/credentials/OS-EC2"
	return []api.Route{
		api.Handle("GET", "/v3/credentials", o("identity:list_credentials"), 200, s.listCredentials),
		api.Handle("POST", "/v3/credentials", o("identity:create_credential"), 201, s.createCredential),
		api.Handle("GET", "/v3/credentials/{credential_id}", o("identity:get_credential"), 200, s.showCredential),
		api.Handle("PATCH", "/v3/credentials/{credential_id}", o("identity:update_credential"), 200, s.updateCredential),
		api.Handle("DELETE", "/v3/credentials/{credential_id}", o("identity:delete_credential"), 204, s.deleteCredential),
		api.Handle("GET", ec2, o("identity:ec2_list_credentials"), 200, s.listEC2),
		api.Handle("POST", ec2, o("identity:ec2_create_credential"), 201, s.createEC2),
		api.Handle("GET", ec2+"/{credential_id}", o("identity:ec2_get_credential"), 200, s.showEC2),
		api.Handle("DELETE", ec2+"/{credential_id}", o("identity:ec2_delete_credential"), 204, s.deleteEC2),
	}
}

// delegated tells whether a token stands for less than its user: a trust's, or one that no method of the user's own made.
func (se *session) delegated() bool { return se.TrustID != "" || se.delegatedMethod() }

// delegatedMethod tells whether anything but the user's own methods made a token; what is not known counts as delegation
// (keystone/api/_shared/delegation.py).
func (se *session) delegatedMethod() bool {
	own := []string{"external", "kerberos", "mapped", "openid", "password", "saml2", "token", "totp", "x509"}
	return len(se.Methods) == 0 || slices.ContainsFunc(se.Methods, func(m string) bool { return !slices.Contains(own, m) })
}

// primaryOnly refuses delegated tokens, which must not reach credentials that outlive the delegation.
func primaryOnly(r *api.Request) error {
	if se := sessionOf(r); se != nil && se.delegated() {
		return forbiddenAction("Delegated tokens cannot access credentials directly")
	}
	return nil
}

// openCredential gives a credential's document with its blob in clear.
func (s *Service) openCredential(tx *db.Tx, d doc, err error) (doc, error) {
	if err != nil {
		return nil, err
	}
	d["blob"], err = s.decrypt(tx, str(d, "blob"))
	return d, err
}

func accessHash(access string) string {
	h := sha256.Sum256([]byte(access))
	return hex.EncodeToString(h[:])
}

func isEC2(d doc) bool { return strings.EqualFold(str(d, "type"), "ec2") }

// ec2Blob reads the blob of an ec2 credential.
func ec2Blob(d doc) (doc, error) {
	var blob any
	if err := json.Unmarshal([]byte(str(d, "blob")), &blob); err != nil {
		return nil, fault.BadRequest("Invalid blob in credential")
	}
	b, ok := blob.(map[string]any)
	if !ok || len(b) == 0 {
		return nil, expecting("blob", "credential")
	}
	if b["access"] == nil {
		return nil, expecting("access", "credential")
	}
	return b, nil
}

func (s *Service) listCredentials(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	t := policy.Map{}
	if !r.Caller.System {
		t["target.credential.user_id"] = r.UserID()
	}
	if err := r.Enforce("identity:list_credentials", t); err != nil {
		return nil, err
	}
	l := listing{kind: s.credential, filters: []string{"user_id", "type"}}
	l.narrow(r.Query())
	list, err := inRead(ctx, s, func(tx *db.Tx) ([]doc, error) {
		all, err := s.credential.all(tx, &l.where)
		if err != nil {
			return nil, err
		}
		var out []doc
		for _, d := range all {
			if !r.Can("identity:get_credential", about(r, "credential", d)) || primaryOnly(r) != nil {
				continue
			}
			d, err := s.openCredential(tx, d, nil)
			if err != nil {
				return nil, err
			}
			out = append(out, s.credential.linked(s, base(r), d))
		}
		return out, nil
	})
	if err != nil {
		return nil, err
	}
	return s.collection(r, "credentials", list)
}

func (s *Service) createCredential(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	raw := memberOf(in, "credential")
	if err := r.Enforce("identity:create_credential", about(r, "credential", asDoc(raw))); err != nil {
		return nil, err
	}
	d, err := checked(s.schemas.credentialCreate, raw)
	if err != nil {
		return nil, err
	}
	if err := primaryOnly(r); err != nil {
		return nil, err
	}
	d = normalized(d)
	d["id"] = newID()
	if isEC2(d) {
		blob, err := ec2Blob(d)
		if err != nil {
			return nil, err
		}
		access, ok := blob["access"].(string)
		if !ok {
			return nil, expecting("access", "credential")
		}
		d["id"] = accessHash(access)
	}
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) { return s.insertCredential(tx, r, d) })
}

func (s *Service) insertCredential(tx *db.Tx, r *api.Request, d doc) (doc, error) {
	if err := notAPerson(tx, str(d, "user_id"), "other credential"); err != nil {
		return nil, err
	}
	if most := s.o.Conf.Credential.UserLimit; most >= 0 {
		n, err := db.One(tx, db.Value[int64], `SELECT count(*) FROM identity_credentials WHERE user_id = $1`, str(d, "user_id"))
		if err != nil {
			return nil, err
		}
		if n >= int64(most) {
			return nil, fault.Forbidden("Unable to create additional credentials, maximum of %d already exceeded for user.", most)
		}
	}
	stored := clone(d)
	var err error
	if stored["blob"], err = s.encrypt(tx, str(d, "blob")); err != nil {
		return nil, err
	}
	if err := s.credential.insert(tx, stored); err != nil {
		if db.IsConflict(err, "") {
			return nil, duplicate("credential", "ID", str(d, "id"))
		}
		return nil, err
	}
	got, err := s.credential.get(tx, str(d, "id"))
	if got, err = s.openCredential(tx, got, err); err != nil {
		return nil, err
	}
	return s.credential.member(s, r, got), nil
}

// credentialFor reads the path's credential and asks a rule about it.
func (s *Service) credentialFor(tx *db.Tx, r *api.Request, rule string) (doc, error) {
	d, err := s.credential.get(tx, r.Path("credential_id"))
	if err != nil && !fault.Is(err, 404) {
		return nil, err
	}
	if denied := r.Enforce(rule, about(r, "credential", d)); denied != nil {
		return nil, denied
	}
	if err != nil {
		return nil, err
	}
	if err := primaryOnly(r); err != nil {
		return nil, err
	}
	return s.openCredential(tx, d, nil)
}

func (s *Service) showCredential(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		d, err := s.credentialFor(tx, r, "identity:get_credential")
		if err != nil {
			return nil, err
		}
		return s.credential.member(s, r, d), nil
	})
}

func (s *Service) updateCredential(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		old, err := s.credentialFor(tx, r, "identity:update_credential")
		if err != nil {
			return nil, err
		}
		d, err := checked(s.schemas.credentialUpdate, memberOf(in, "credential"))
		if err != nil {
			return nil, err
		}
		if isEC2(old) {
			if err := sameEC2(old, d); err != nil {
				return nil, err
			}
		}
		sealed, err := s.encrypt(tx, str(d, "blob"))
		if err != nil {
			return nil, err
		}
		got, err := s.credential.update(tx, old, doc{"blob": sealed})
		if got, err = s.openCredential(tx, got, err); err != nil {
			return nil, err
		}
		return s.credential.member(s, r, got), nil
	})
}

// sameEC2 refuses to change what an ec2 credential was delegated by.
func sameEC2(old, d doc) error {
	fresh, err := ec2Blob(d)
	if err != nil {
		return err
	}
	was, err := ec2Blob(old)
	if err != nil {
		return err
	}
	for _, key := range []string{"trust_id", "app_cred_id", "access_token_id", "access_id"} {
		if was[key] != fresh[key] {
			return fault.BadRequest("%s can not be updated for credential", key)
		}
	}
	return nil
}

func (s *Service) deleteCredential(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		d, err := s.credentialFor(tx, r, "identity:delete_credential")
		if err != nil {
			return err
		}
		return s.credential.remove(tx, str(d, "id"))
	})
}

// ec2Wire is a credential as the EC2 paths show it.
func ec2Wire(r *api.Request, d doc) (doc, error) {
	blob, err := ec2Blob(d)
	if err != nil {
		return nil, err
	}
	access, _ := blob["access"].(string)
	return doc{"user_id": d["user_id"], "tenant_id": d["project_id"], "access": access, "secret": blob["secret"], "trust_id": blob["trust_id"],
		"links": doc{"self": base(r) + "/users/" + str(d, "user_id") + "/credentials/OS-EC2/" + access}}, nil
}

func (s *Service) listEC2(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	list, err := inRead(ctx, s, func(tx *db.Tx) ([]doc, error) {
		if err := r.Enforce("identity:ec2_list_credentials", about(r)); err != nil {
			return nil, err
		}
		if err := primaryOnly(r); err != nil {
			return nil, err
		}
		if _, err := s.user.get(tx, r.Path("user_id")); err != nil {
			return nil, err
		}
		all, err := s.credential.all(tx, (&db.Where{}).Add("user_id = ? AND type = 'ec2'", r.Path("user_id")))
		if err != nil {
			return nil, err
		}
		var out []doc
		for _, d := range all {
			d, err := s.openCredential(tx, d, nil)
			if err != nil {
				return nil, err
			}
			w, err := ec2Wire(r, d)
			if err != nil {
				return nil, err
			}
			out = append(out, w)
		}
		return out, nil
	})
	if err != nil {
		return nil, err
	}
	return s.collection(r, "credentials", list)
}

func (s *Service) createEC2(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	user := r.Path("user_id")
	if err := r.Enforce("identity:ec2_create_credential", policy.Map{"target.credential.user_id": user}); err != nil {
		return nil, err
	}
	access, err := randomHex()
	if err != nil {
		return nil, err
	}
	secret, err := randomHex()
	if err != nil {
		return nil, err
	}
	blob, err := json.Marshal(doc{"access": access, "secret": secret, "trust_id": nil})
	if err != nil {
		return nil, err
	}
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		if _, err := s.user.get(tx, user); err != nil {
			return nil, err
		}
		project := str(in, "tenant_id")
		if project == "" {
			return nil, s.project.notFound("None")
		}
		if _, err := s.project.get(tx, project); err != nil {
			return nil, err
		}
		if err := primaryOnly(r); err != nil {
			return nil, err
		}
		d := doc{"id": accessHash(access), "user_id": user, "project_id": project, "blob": string(blob), "type": "ec2"}
		if _, err := s.insertCredential(tx, r, d); err != nil {
			return nil, err
		}
		w, err := ec2Wire(r, d)
		return doc{"credential": w}, err
	})
}

func randomHex() (string, error) {
	var b [16]byte
	_, err := rand.Read(b[:])
	return hex.EncodeToString(b[:]), err
}

// ec2For reads the credential of the path's access key and asks a rule about it.
func (s *Service) ec2For(tx *db.Tx, r *api.Request, rule string) (doc, error) {
	d, err := s.credential.get(tx, accessHash(r.Path("credential_id")))
	if err != nil {
		r.Asked() // upstream looks it up for the rule's target: 404 to anybody
		return nil, err
	}
	if err := r.Enforce(rule, about(r, "credential", d)); err != nil {
		return nil, err
	}
	if _, err := s.user.get(tx, r.Path("user_id")); err != nil {
		return nil, err
	}
	if str(d, "type") != "ec2" {
		return nil, unauthorized(errors.New("EC2 access key not found"))
	}
	if err := primaryOnly(r); err != nil {
		return nil, err
	}
	return s.openCredential(tx, d, nil)
}

func (s *Service) showEC2(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		d, err := s.ec2For(tx, r, "identity:ec2_get_credential")
		if err != nil {
			return nil, err
		}
		w, err := ec2Wire(r, d)
		return doc{"credential": w}, err
	})
}

func (s *Service) deleteEC2(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		d, err := s.ec2For(tx, r, "identity:ec2_delete_credential")
		if err != nil {
			return err
		}
		return s.credential.remove(tx, str(d, "id"))
	})
}
