package image

import (
	"context"
	"errors"
	"net/http"
	"unicode/utf8"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/api/webob"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

func isUTF8(s string) bool { return utf8.ValidString(s) }

type memberView struct {
	MemberID  string `json:"member_id"`
	ImageID   string `json:"image_id"`
	Status    string `json:"status"`
	CreatedAt string `json:"created_at"`
	UpdatedAt string `json:"updated_at"`
	Schema    string `json:"schema"`
}

func viewOf(m member) memberView {
	return memberView{m.MemberID, m.ImageID, m.Status, isoTime(m.CreatedAt), isoTime(m.UpdatedAt), "/v2/schemas/member"}
}

type memberList struct {
	Members []memberView `json:"members"`
	Schema  string       `json:"schema"`
}

// sharedImage finds the image whose members are meant.
func (s *Service) sharedImage(tx *db.Tx, r *api.Request) (Image, error) {
	id := r.Path("image_id")
	img, err := s.known(tx, r, id)
	if fault.Is(err, http.StatusNotFound) {
		return img, fault.NotFound("Image %s not found.", id)
	}
	return img, err
}

var errNotShared = errors.New("Only shared images have members.") //nolint:revive // upstream's text

// mayMembers asks a rule about the members of an image: first whether the image may be seen, then the rule itself
// (glance/api/v2/policy.py, MemberAPIPolicy).
func mayMembers(r *api.Request, rule string, img Image) error {
	t := target(img, r.ProjectID())
	if !r.Can("get_image", t) {
		r.Denied(t, "get_image")
		return webob.Plain(404)
	}
	if !r.Can(rule, t) {
		return refused(rule)
	}
	return nil
}

func (s *Service) listMembers(ctx context.Context, r *api.Request, _ api.None) (memberList, error) {
	out := memberList{Members: []memberView{}, Schema: "/v2/schemas/members"}
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		img, err := s.sharedImage(tx, r)
		if err != nil {
			return err
		}
		if img.Visibility != "shared" {
			return fault.Forbidden("Not allowed to list members for image %s: %s", img.ID, errNotShared)
		}
		if err := mayMembers(r, "get_members", img); err != nil {
			return err
		}
		members, err := membersOf(tx, img.ID)
		out.Members = out.Members[:0]
		for _, m := range members {
			// A member sees itself only (glance/db/__init__.py, ImageMemberRepo.list).
			if s.isAdmin(r.Caller) || img.Owner != nil && *img.Owner == r.ProjectID() || m.MemberID == r.ProjectID() {
				out.Members = append(out.Members, viewOf(m))
			}
		}
		return err
	})
	return out, err
}

// findMember finds a member that the caller may see: the owner sees all, a member itself.
func (s *Service) findMember(tx *db.Tx, r *api.Request, img Image) (member, error) {
	id := r.Path("member_id")
	if err := mayMembers(r, "get_member", img); err != nil {
		return member{}, err
	}
	m, err := memberOf(tx, img.ID, id)
	hidden := err == nil && !s.isAdmin(r.Caller) && (img.Owner == nil || *img.Owner != r.ProjectID()) && id != r.ProjectID()
	if errors.Is(err, db.ErrNotFound) || hidden {
		return member{}, fault.NotFound("%s not found in the member list of the image %s.", id, img.ID)
	}
	return m, err
}

func (s *Service) showMember(ctx context.Context, r *api.Request, _ api.None) (memberView, error) {
	var m member
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		img, err := s.sharedImage(tx, r)
		if err != nil {
			return err
		}
		if img.Visibility != "shared" {
			return fault.NotFound("%s", errNotShared)
		}
		m, err = s.findMember(tx, r, img)
		if fault.Is(err, http.StatusForbidden) {
			return fault.NotFound("%s", fault.As(err).Message) // hides that the image has members
		}
		return err
	})
	return viewOf(m), err
}

func (s *Service) addMember(ctx context.Context, r *api.Request, in *api.Stream) (memberView, error) {
	id, err := memberField(r, in, "member", "Member to be added not specified", `Expected a member in the form: {"member": "image_id"}`)
	if err != nil {
		return memberView{}, err
	}
	if id == "" {
		return memberView{}, fault.BadRequest("Member can't be empty")
	}
	if utf8.RuneCountInString(id) > 255 {
		return memberView{}, fault.BadRequest("Member can't be longer than 255 characters")
	}
	var m member
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		if err := lockImage(tx, r.Path("image_id")); err != nil {
			return err
		}
		img, err := s.sharedImage(tx, r)
		if err != nil {
			return err
		}
		if img.Visibility != "shared" {
			return fault.Forbidden("Not allowed to create members for image %s.", img.ID)
		}
		if err := mayMembers(r, "add_member", img); err != nil {
			return err
		}
		members, err := membersOf(tx, img.ID)
		if err != nil {
			return err
		}
		for _, old := range members {
			if old.MemberID == id {
				return fault.Conflict("Member %s is duplicated for image %s", id, img.ID)
			}
		}
		if n := len(members) + 1; n > memberQuota {
			return fault.New(http.StatusRequestEntityTooLarge, "", "Image member limit exceeded for image %s: The limit has been exceeded on the number of allowed image members for this image. Attempted: %d, Maximum: %d:", img.ID, n, memberQuota)
		}
		m = member{ImageID: img.ID, MemberID: id, Status: "pending", CreatedAt: tx.NowMicros(), UpdatedAt: tx.NowMicros()}
		_, err = tx.Exec(`INSERT INTO image_members (`+memberColumns+`) VALUES ($1,$2,$3,$4,$5)`, m.ImageID, m.MemberID, m.Status, m.CreatedAt, m.UpdatedAt)
		return err
	})
	return viewOf(m), err
}

// memberField reads the one text that a body about a member holds.
func memberField(r *api.Request, in *api.Stream, name, missing, shape string) (string, error) {
	body, err := readJSON(r, in)
	if err != nil {
		return "", err
	}
	d, ok := body.(*schema.Dict)
	if !ok {
		return "", fault.BadRequest("%s", shape)
	}
	v, ok := d.Get(name)
	if !ok {
		return "", fault.BadRequest("%s", missing)
	}
	if v == nil {
		return "", nil
	}
	if s, ok := v.(string); ok {
		return s, nil
	}
	if name == "status" {
		return schema.PyStr(v), nil // refused as no status
	}
	return "", fault.BadRequest("%s", shape)
}

func (s *Service) updateMember(ctx context.Context, r *api.Request, in *api.Stream) (memberView, error) {
	status, err := memberField(r, in, "status", "Status not specified", `Expected a status in the form: {"status": "status"}`)
	if err != nil {
		return memberView{}, err
	}
	var m member
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		img, err := s.sharedImage(tx, r)
		if err != nil {
			return err
		}
		if img.Visibility != "shared" {
			return fault.Forbidden("Not allowed to update members for image %s.", img.ID)
		}
		if m, err = s.findMember(tx, r, img); err != nil {
			if fault.Is(err, http.StatusForbidden) {
				return fault.Forbidden("You are not authorized to lookup the members of the image %s.", img.ID)
			}
			return err
		}
		if err := mayMembers(r, "modify_member", img); err != nil {
			return err
		}
		if status != "pending" && status != "accepted" && status != "rejected" {
			return fault.BadRequest(`Incorrect request: Status must be "pending", "accepted" or "rejected".`)
		}
		m.Status, m.UpdatedAt = status, tx.NowMicros()
		_, err = tx.Exec(`UPDATE image_members SET status = $3, updated_at = $4 WHERE image_id = $1 AND member_id = $2`, m.ImageID, m.MemberID, m.Status, m.UpdatedAt)
		return err
	})
	return viewOf(m), err
}

func (s *Service) removeMember(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		img, err := s.sharedImage(tx, r)
		if err != nil {
			return err
		}
		if img.Visibility != "shared" {
			return fault.Forbidden("Not allowed to delete members for image %s.", img.ID)
		}
		m, err := s.findMember(tx, r, img)
		if err != nil {
			return err
		}
		if err := mayMembers(r, "delete_member", img); err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM image_members WHERE image_id = $1 AND member_id = $2`, m.ImageID, m.MemberID)
		return err
	})
	return api.None{}, err
}
