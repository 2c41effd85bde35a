package image

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/api/webob"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// What a client may not set (glance/api/v2/images.py, RequestDeserializer, and glance/domain/__init__.py, ImageFactory).
var (
	disallowed    = []string{"direct_url", "self", "file", "schema", "stores"}
	readOnly      = []string{"created_at", "updated_at", "status", "checksum", "size", "virtual_size", "direct_url", "self", "file", "schema", "id", "os_hash_algo", "os_hash_value"}
	readOnlyAtNew = []string{"created_at", "updated_at", "status", "checksum", "os_hash_algo", "os_hash_value", "size", "virtual_size"}
	reserved      = []string{"location", "deleted", "deleted_at"}
)

const reservedPrefix = "os_glance"

// Limits of glance (image_property_quota, image_tag_quota, image_member_quota) and of its columns.
const (
	propertyQuota = 128
	tagQuota      = 128
	memberQuota   = 128
	maxValue      = 65535
)

func isReserved(name string) bool {
	return slices.Contains(reserved, name) || strings.HasPrefix(name, reservedPrefix)
}

func (s *Service) createImage(ctx context.Context, r *api.Request, in *api.Stream) (api.JSON, error) {
	body, err := readJSON(r, in)
	if err != nil {
		return nil, err
	}
	d, ok := body.(*schema.Dict)
	if !ok {
		return nil, errMalformed
	}
	img, err := s.newImage(d)
	if err != nil {
		return nil, err
	}
	if _, set := d.Get("owner"); !set && r.ProjectID() != "" {
		owner := r.ProjectID()
		img.Owner = &owner
	}
	if err := mayAdd(r, img); err != nil {
		return nil, err
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		img.CreatedAt, img.UpdatedAt = tx.NowMicros(), tx.NowMicros()
		var err error
		if img.Revision, err = tx.NextRevision(); err != nil {
			return err
		}
		err = insertImage(tx, img)
		if db.IsConflict(err, "") {
			return fault.Conflict("Image ID %s already exists!", img.ID)
		}
		if err != nil {
			return err
		}
		return emit(ctx, tx, img, "create")
	})
	if err != nil {
		return nil, err
	}
	h := r.Header()
	h.Set("Location", r.ServiceURL()+"/v2/images/"+img.ID)
	h.Set("OpenStack-image-store-ids", storeName)
	return s.doc(img)
}

func emit(ctx context.Context, tx *db.Tx, img Image, action string) error {
	project := ""
	if img.Owner != nil {
		project = *img.Owner
	}
	return tx.Emit(db.Change{Kind: "image", ID: img.ID, ProjectID: project, Action: action, RequestID: api.RequestID(ctx)})
}

// newImage makes an image of a body.
func (s *Service) newImage(d *schema.Dict) (Image, error) {
	for _, name := range disallowed {
		if _, ok := d.Get(name); ok {
			return Image{}, fault.Forbidden("Attribute '%s' is read-only.", name)
		}
	}
	if e := schema.Glance.Validate(s.schema.image, d); e != nil {
		return Image{}, fault.BadRequest("%s", e.GlanceMessage("image"))
	}
	img := Image{ID: uuid.NewString(), Status: Queued, Visibility: "shared", Properties: map[string]string{}, Tags: []string{}}
	for _, name := range d.Names() {
		v, _ := d.Get(name)
		switch {
		case slices.Contains(readOnlyAtNew, name):
			return Image{}, fault.Forbidden("Attribute '%s' is read-only.", name)
		case name == "locations":
			return Image{}, fault.Forbidden("Attribute 'locations' is reserved.")
		case name == "id":
			img.ID = v.(string)
		default:
			if err := img.set(name, v); err != nil {
				return Image{}, err
			}
		}
	}
	return img, img.checkQuotas()
}

// attributes are what set knows besides custom properties.
var attributes = []string{"name", "visibility", "protected", "os_hidden", "owner", "container_format", "disk_format", "tags", "min_ram", "min_disk"}

// set sets an attribute or a custom property to a value that the schema accepts.
func (i *Image) set(name string, v any) error {
	switch name {
	case "name":
		i.Name = text(v)
	case "visibility":
		i.Visibility = v.(string)
	case "protected":
		i.Protected = v.(bool)
	case "os_hidden":
		i.Hidden = v.(bool)
	case "owner":
		i.Owner = text(v)
	case "container_format", "disk_format":
		if i.Status != Queued {
			return fault.Forbidden("Attribute %s can be only replaced for a queued image.", name)
		}
		if name == "disk_format" {
			i.DiskFormat = text(v)
		} else {
			i.ContainerFormat = text(v)
		}
	case "tags":
		i.Tags = []string{}
		for _, t := range v.([]any) {
			i.Tags = append(i.Tags, t.(string))
		}
		slices.Sort(i.Tags)
		i.Tags = slices.Compact(i.Tags)
	case "min_ram", "min_disk":
		return i.setMinimum(name, v)
	default:
		return i.setProperty(name, v)
	}
	return nil
}

func (i *Image) setMinimum(name string, v any) error {
	n, ok := integer(v)
	switch {
	case !ok || n > 1<<31-1:
		return fault.BadRequest("Invalid value '%v' for parameter '%s': Cannot be more than %d", v, name, 1<<31-1)
	case n < 0:
		return fault.BadRequest("Invalid value '%d' for parameter '%s': Cannot be a negative value", n, name)
	}
	if name == "min_ram" {
		i.MinRAM = n
	} else {
		i.MinDisk = n
	}
	return nil
}

func (i *Image) setProperty(name string, v any) error {
	value, isText := v.(string)
	switch {
	case utf8.RuneCountInString(name) > 255:
		return fault.BadRequest("Custom property should not be greater than 255 characters.")
	case isReserved(name):
		return webob.Detailed(http.StatusForbidden, "Attribute '%s' is reserved.", name)
	case v != nil && !isText:
		// kernel_id and ramdisk_id may be null; nothing else gets here past the schema.
		return fault.BadRequest("Property %s must be a string.", name)
	case len(value) > maxValue:
		return fault.BadRequest("Property %s is longer than %d bytes.", name, maxValue)
	}
	i.Properties[name] = value
	return nil
}

func (i *Image) checkQuotas() error {
	if n := len(i.Properties); n > propertyQuota {
		return fault.New(http.StatusRequestEntityTooLarge, "",
			"The limit has been exceeded on the number of allowed image properties. Attempted: %d, Maximum: %d", n, propertyQuota)
	}
	if n := len(i.Tags); n > tagQuota {
		return fault.New(http.StatusRequestEntityTooLarge, "",
			"The limit has been exceeded on the number of allowed image tags. Attempted: %d, Maximum: %d", n, tagQuota)
	}
	return nil
}

// mayAdd asks whether the caller may make this image. Before it exists a refusal hides nothing.
func mayAdd(r *api.Request, img Image) error {
	t := policy.Map{"project_id": orNil(img.Owner), "owner": orNil(img.Owner), "visibility": img.Visibility}
	if !r.Can("add_image", t) {
		if (img.Owner == nil) != (r.ProjectID() == "") || img.Owner != nil && *img.Owner != r.ProjectID() {
			owner := "None"
			if img.Owner != nil {
				owner = *img.Owner
			}
			return webob.Detailed(http.StatusForbidden, "You are not permitted to create images owned by '%s'", owner)
		}
		return refused("add_image")
	}
	return mayPublish(r, img.Visibility, t)
}

// mayPublish asks the rules of the visibilities that reach beyond the project.
func mayPublish(r *api.Request, visibility string, t policy.Target) error {
	rule := map[string]string{"public": "publicize_image", "community": "communitize_image"}[visibility]
	if rule != "" && !r.Can(rule, t) {
		return refused(rule)
	}
	return nil
}

func (s *Service) showImage(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	var img Image
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		if img, err = s.known(tx, r, r.Path("image_id")); err != nil {
			return err
		}
		return enforce(r, "get_image", img)
	})
	if err != nil {
		return nil, err
	}
	return s.doc(img)
}

func (s *Service) deleteImage(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	var img Image
	err := s.db.Write(ctx, func(tx *db.Tx) (err error) {
		id := r.Path("image_id")
		if err := lockImage(tx, id); err != nil {
			return err
		}
		if img, err = s.known(tx, r, id); err != nil {
			if fault.Is(err, http.StatusNotFound) {
				return fault.NotFound("Failed to find image %s to delete", id)
			}
			return err
		}
		if err := enforce(r, "delete_image", img); err != nil {
			return err
		}
		if img.Protected {
			return fault.Forbidden("Image %s is protected and cannot be deleted.", id)
		}
		if err := deleteImage(tx, id); err != nil {
			return err
		}
		return emit(ctx, tx, img, "delete")
	})
	if err != nil {
		return api.None{}, err
	}
	if img.upload != "" && img.store == s.files.id {
		// After the commit: a record without data is worse than data without a record, which the next start removes.
		if err := s.files.remove(img.ID, img.upload); err != nil {
			r.Log.Error("the data of a deleted image is left over until the next start", "image", img.ID, "error", err)
		}
	}
	return api.None{}, nil
}

// change runs one change of an image under its lock: load, ask rule, apply. A false from apply changes nothing.
func (s *Service) change(ctx context.Context, r *api.Request, apply func(tx *db.Tx, img *Image) (bool, error)) (Image, error) {
	var img Image
	err := s.db.Write(ctx, func(tx *db.Tx) (err error) {
		id := r.Path("image_id")
		if err := lockImage(tx, id); err != nil {
			return err
		}
		if img, err = s.known(tx, r, id); err != nil {
			return err
		}
		changed, err := apply(tx, &img)
		if err != nil || !changed {
			return err
		}
		if err := updateImage(tx, img); err != nil {
			return err
		}
		if err := emit(ctx, tx, img, "update"); err != nil {
			return err
		}
		img, err = imageByID(tx, id)
		return err
	})
	return img, err
}
