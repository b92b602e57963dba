"""Why a figure is missing, where advice depends on it."""

ONE_SCENE = "photos of one scene alone give no yardstick of likeness"
NO_WAY = "the base's pictures are as near to the photos as the photos are to each other, or cannot be told from it"
COPIES_OF_ONE_SCENE = "training photos of one scene alone give no yardstick of copies"
ONE_TRAINING_PHOTO = "one training photo alone gives no yardstick"
NO_COPY_DETECTOR = "evaluate.copies names no copy detector"
NO_DISTANCE = "evaluate.perceptual names nothing that tells pictures apart"
ONE_SEED = "one seed a prompt shows no diversity"
