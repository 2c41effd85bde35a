-- Groups are found by the name that they show, which is a directory's for those that come from one. It is the expression groupName of package identity.
CREATE INDEX identity_groups_by_shown_name ON identity_groups ((CASE WHEN directory_name = '' THEN name ELSE directory_name END));
