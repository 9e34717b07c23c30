//! What a Moodle site says of itself: its layout, its config.php, its own command line.
