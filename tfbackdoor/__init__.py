from tfbackdoor.attacks.poisoning import Poisoning, poison
from tfbackdoor.attacks.triggers import Trigger, make_trigger
from tfbackdoor.augmentation import augment
from tfbackdoor.data import load_images
from tfbackdoor.devices import make_strategy, set_seed
from tfbackdoor.evaluation import evaluate
from tfbackdoor.models.resnet import resnet18
from tfbackdoor.models.wide_resnet import wide_resnet
from tfbackdoor.optimizers import CoupledSGD
from tfbackdoor.sampling import split_images, training_batches, count_classes
from tfbackdoor.training import ClassifierTraining
