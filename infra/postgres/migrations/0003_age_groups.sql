-- Some data sets tell a viewer's age, others only an age group: keep both, each as precise as its source.
ALTER TABLE users ADD COLUMN age_group text;
